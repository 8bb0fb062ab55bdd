"""The methods of the playground in JavaScript, from the reading of their rules."""

import inspect
import re
import warnings
from itertools import product
from typing import Any

import torch

from scratchopt.config.messages import one_line
from scratchopt.engine.laws import read_programs
from scratchopt.engine.operations import RuleError
from scratchopt.engine.update import Update, number_names
from scratchopt.method_files import method_classes
from scratchopt.optimizer import Optimizer
from scratchopt.playground.newton import write_newton
from scratchopt.playground.programs import (
    write_json,
    write_numbers,
    write_object,
    write_program,
    write_update,
)
from scratchopt.playground.settings import describe_setting, find_settings, is_switch, turn
from scratchopt.playground.source_lines import describe_line, find_source

Group = dict[str, Any]


def write_methods() -> str:
    """Writes all methods whose rule works on each number by itself, by year, and Newton's.

    One that cannot be written, as somebody is still writing it, is left out with a warning.
    """
    classes = {
        name: cls
        for name, cls in method_classes().items()
        if cls.shape == "elementwise" and hasattr(cls, "rule")
    }
    names = sorted(classes, key=lambda name: _year(classes[name]))
    methods = {}
    for name in names:
        try:
            methods[name] = _write_method(classes[name])
        except Exception as error:  # whatever comes of a method's own code
            warnings.warn(
                f"scratchopt/{name}.py is left out of the playground: {one_line(error)}",
                stacklevel=2,
            )
    return write_object(methods | {"newton": write_newton()})


def _year(cls: type[Optimizer]) -> str:
    found = re.search(r"\b(?:19|20)\d\d\b", cls.__doc__ or "")
    return found[0] if found else ""


def _write_method(cls: Any) -> str:
    """Writes a method, in a variant for each choice of which switches are on."""
    optimizer = cls([torch.nn.Parameter(torch.tensor([2.0, 3.0], dtype=torch.float64))])
    [group] = optimizer.param_groups
    settings = find_settings(optimizer)
    switches = [setting for setting in settings if is_switch(optimizer, setting)]
    variants = {}
    for bits in product((0, 1), repeat=len(switches)):
        variant = group
        for setting, bit in zip(switches, bits, strict=True):
            variant = turn(variant, setting, bool(bit))
        variants[f'"{"".join(map(str, bits))}"'] = _write_variant(optimizer, variant)
    about = {
        "title": cls.__name__,
        "summary": (cls.__doc__ or "").partition("\n")[0],
        "settings": [describe_setting(optimizer, setting) for setting in settings],
        "switches": switches,
        "pointed": cls.gradient_point is not None,
        "adaptive": cls.preconditioner is not None,
        "averages": cls.averages,
    }
    written = {key: write_json(value) for key, value in about.items()}
    return write_object(written | {"variants": write_object(variants)})


def _write_variant(optimizer: Optimizer, group: Group) -> str:
    """Writes the update of a group: its state, its numbers, its rule, its limit of stability."""
    update = optimizer.update_of(group)
    programs = read_programs(update, group)
    moves = read_programs(update.move, group) if update.move else []
    letters = list(inspect.signature(update.rule).parameters)[: 2 + len(update.keys)]
    functions = [update.move and update.move.rule, update.rule]
    used = [line for program in [*moves, *programs] for line in program.lines]
    lines = find_source(filter(None, functions), used)
    moved = [letters[0], "", *letters[2:]]  # θ's copy has no letter
    written = {
        "decoupled": write_json(bool(group.get("decoupled_weight_decay"))),
        "buffers": write_json(_describe_buffers(optimizer, update, group)),
        "lines": write_json([describe_line(line) for line in lines]),
        "move": write_update(update.move, moves, moved, lines, group) if update.move else "null",
        "make": _write_numbers(optimizer, update, group),
        "update": write_update(update, programs, letters, lines, group),
        "limit": _write_limit(optimizer, group),
        "preconditioner": _write_preconditioner(optimizer, update, group),
    }
    return write_object(written)


def _describe_buffers(optimizer: Optimizer, update: Update, group: Group) -> list[dict[str, Any]]:
    """Describes the buffers: their names, and what they start with, a number or the parameter."""
    [p] = group["params"]
    found = []
    for key in update.keys:
        value: Any = optimizer.first_value(key, p, group)
        first = "p" if torch.equal(value, p) else value[0].item()
        if first != "p" and (value != first).any():
            raise RuleError(f"{key} starts with neither a number nor the parameter")
        found.append({"name": key, "first": first})
    return found


def _write_numbers(optimizer: Optimizer, update: Update, group: Group) -> str:
    own = update.step_numbers
    if own is None:
        return "null"
    [p] = group["params"]
    first: Any = {name: optimizer.first_value(name, p, group) for name in own.kept}
    taken = list(number_names(own.function))
    return write_numbers(f"{type(optimizer).__name__}.numbers", own, first, taken, group)


def _write_limit(optimizer: Optimizer, group: Group) -> str:
    """Writes the largest stable lr·λ; null where a method knows none."""
    limit, name = optimizer.stability_limit, type(optimizer).__name__
    if limit is None:
        return "null"
    return write_program(f"{name}.stability_limit", limit, (), number_names(limit), group)


def _write_preconditioner(optimizer: Optimizer, update: Update, group: Group) -> str:
    """Writes P, by which λ is divided, as a function of the buffers; null where it is 1."""
    if optimizer.preconditioner is None:
        return "null"

    def preconditioner(*buffers: Any, t: Any, **numbers: Any) -> Any:
        state = dict(zip(update.keys, buffers, strict=True)) | {"step": t}
        return optimizer.preconditioner(state, group | numbers)

    names = [*(name for name in update.names if name in group), "t"]
    label = f"{type(optimizer).__name__}.preconditioner"
    return write_program(label, preconditioner, update.keys, names, group)
