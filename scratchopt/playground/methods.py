"""The methods of the playground in JavaScript, from the reading of each rule."""

import ast
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from inspect import signature
from itertools import product
from math import inf
from pathlib import Path
from textwrap import indent
from typing import Any

import torch

from scratchopt.engine.js_source import write_function, write_value
from scratchopt.engine.laws import read_programs
from scratchopt.engine.program import Line, Program
from scratchopt.engine.trace import read_function
from scratchopt.engine.update import Update, number_names
from scratchopt.method_files import method_classes
from scratchopt.optimizer import Optimizer
from scratchopt.playground.newton import write_newton
from scratchopt.ranges import COMMON

ROOT = Path(__file__).parents[2]
LABELS = {"momentum": "μ", "betas": "β", "alpha": "α", "eps": "ε", "weight_decay": "weight decay"}
FLAGS = ("capturable", "cautious")  # of a constructor, and none of the rule's


def write_methods() -> str:
    """Writes an object of all methods whose rule works on each number by itself, and of Newton's.

    They are in the order of their years.
    """
    classes = {
        name: cls
        for name, cls in method_classes().items()
        if cls.shape == "elementwise" and hasattr(cls, "rule")
    }
    names = sorted(classes, key=lambda name: _year(classes[name]))
    entries = [f"{name}: {_write_method(name, classes[name])}" for name in names]
    return _braces([*entries, f"newton: {write_newton()}"])


def _write_method(name: str, cls: type[Optimizer]) -> str:
    p = torch.nn.Parameter(torch.tensor([2.0, 3.0], dtype=torch.float64))
    optimizer = cls([p])
    [group] = optimizer.param_groups
    settings = _find_settings(optimizer, group)
    switches = [setting for setting in settings if _switches(optimizer, group, setting)]
    numbers = _numbers(optimizer, group)
    shown = [s for s in settings if s in switches or s.split("[")[0] in numbers]
    variants = {}
    for bits in product((0, 1), repeat=len(switches)):
        variant = group
        for setting, bit in zip(switches, bits, strict=True):
            variant = _with(variant, setting, bit)
        variants["".join(map(str, bits))] = _write_variant(optimizer, p, variant)
    about = {
        "title": cls.__name__,
        "file": f"scratchopt/{name}.py",
        "summary": (cls.__doc__ or "").partition("\n")[0],
        "settings": [_describe_setting(cls, group, setting) for setting in shown],
        "switches": switches,
        "pointed": cls.gradient_point is not None,
        "adaptive": cls.preconditioner is not None,
    }
    written = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in about.items()]
    ways = [f"{json.dumps(key)}: {value}" for key, value in variants.items()]
    return _braces([*written, f"variants: {_braces(ways)}"])


def _year(cls: type[Optimizer]) -> str:
    found = re.search(r"\b(?:19|20)\d\d\b", cls.__doc__ or "")
    return found[0] if found else ""


def _find_settings(optimizer: Optimizer, group: dict[str, Any]) -> list[str]:
    """The hyperparameters of a constructor that are numbers or truth values, a pair as two."""
    found = []
    for name in [*signature(type(optimizer).__init__).parameters, "weight_decay"]:
        value = group.get(name)
        if name in found or name in FLAGS or isinstance(value, str) or value is None:
            continue
        if isinstance(value, tuple):
            found += [f"{name}[{i}]" for i in range(len(value))]
        elif name not in ("params", "foreach", "fused", "maximize", "differentiable"):
            found.append(name)
    return [name for name in dict.fromkeys(found) if name != "compensated"]


def _switches(optimizer: Optimizer, group: dict[str, Any], setting: str) -> bool:
    """True if it decides between two updates whether a setting is 0."""
    update = optimizer.update_of
    return update(_with(group, setting, 0)) is not update(_with(group, setting, 1))


def _with(group: dict[str, Any], setting: str, bit: int) -> dict[str, Any]:
    """A group with a setting that is 0, or False, or not."""
    name, _, index = setting.rstrip("]").partition("[")
    if index:
        return group
    flag = isinstance(group[name], bool)
    return group | {name: bool(bit) if flag else 0.5 * bit}


def _numbers(optimizer: Optimizer, group: dict[str, Any]) -> set[str]:
    """The numbers that any part of a method takes."""
    cls, update = type(optimizer), optimizer.update_of(group)
    found = {*update.names, *number_names(cls.stability_limit)}
    return found | set(update.step_numbers.names if update.step_numbers else ())


def _describe_setting(cls: type[Optimizer], group: dict[str, Any], setting: str) -> dict[str, Any]:
    """A setting's label, default, range and scale."""
    name, _, index = setting.rstrip("]").partition("[")
    value = group[name][int(index)] if index else group[name]
    label = LABELS.get(name, name) + ("₁₂₃"[int(index)] if index else "")
    found = next((r for r in (*cls.ranges, *COMMON) if r.name == name), None)
    low, high = (found.low, found.high) if found else (0, inf)
    memory = high == 1 or 0.5 < value < 1
    scale = "switch" if isinstance(value, bool) else "memory" if memory else "log"
    if isinstance(value, int) and scale == "log":
        scale = "count"
    top = None if high == inf else high
    return {"name": setting, "label": label, "value": value, "low": low, "high": top, "scale": scale}


def _write_variant(optimizer: Optimizer, p: torch.nn.Parameter, group: dict[str, Any]) -> str:
    """Writes the update of a group: its state, its numbers, its rule, its limit of stability."""
    cls, update = type(optimizer), optimizer.update_of(group)
    programs = read_programs(update, group)
    moves = read_programs(update.move, group) if update.move else []
    letters = list(signature(update.rule).parameters)[: 2 + len(update.keys)]
    buffers = [
        {"name": key, "letter": letter, "first": _first(optimizer, key, p, group)}
        for key, letter in zip(update.keys, letters[2:], strict=True)
    ]
    lines = _find_source(update, [line for program in [*moves, *programs] for line in program.lines])
    written = {
        "buffers": json.dumps(buffers, ensure_ascii=False),
        "lines": json.dumps([_describe_line(line) for line in lines], ensure_ascii=False),
        "move": _write_ways(update.move, moves, group, letters[:1] + letters, lines),
        "make": _write_numbers(optimizer, p, update, group),
        "update": _write_ways(update, programs, group, letters, lines),
        "decoupled": json.dumps(bool(group.get("decoupled_weight_decay"))),
        "limit": _write_limit(cls, group),
        "preconditioner": _write_preconditioner(cls, update, group),
    }
    return _braces([f"{key}: {value}" for key, value in written.items()])


def _first(optimizer: Optimizer, key: str, p: torch.nn.Parameter, group: dict[str, Any]) -> Any:
    """What a buffer starts with: a number, or "p", the parameter."""
    value = optimizer.first_value(key, p, group)
    assert value is not None
    return "p" if torch.equal(value, p) else value[0].item()


def _write_ways(
    update: Update | None,
    programs: list[Program],
    group: dict[str, Any],
    letters: list[str],
    lines: list[Line],
) -> str:
    """Writes a rule or a move: a function for each way through its branches.

    What a function returns are the new elements, and what each operation came to. `written` says
    for each source line which of these it has written last, and of which letter.
    """
    if update is None:
        return "null"
    counts = [*_spread(update.names, group), *_spread_made(update)]
    numbers = [*counts, "t"] if update.takes_t else counts
    ways = []
    for program in programs:
        results = write_value(program.results)
        steps = write_value([step.name for step in program.steps])
        function = write_function(program, f"{{x: {results}, y: {steps}}}")
        found = json.dumps(_find_written(program, letters, lines), ensure_ascii=False)
        ways.append(_braces([f"written: {found}", f"run: {function}"]))
    return _braces([f"numbers: {json.dumps(numbers)}", f"ways: [{', '.join(ways)}]"])


def _spread(names: Iterable[str], group: dict[str, Any]) -> list[str]:
    """The names of all numbers, one after another, as `flatten_numbers` lists them."""
    found = []
    for name in names:
        several = isinstance(group[name], tuple | list)
        found += [f"{name}[{i}]" for i in range(len(group[name]))] if several else [name]
    return found


def _spread_made(update: Update) -> list[str]:
    made = update.step_numbers.made if update.step_numbers else ()
    found = []
    for name, count in made:
        if name in update.made:
            found += [f"{name}[{i}]" for i in range(count)] if count else [name]
    return found


def _find_written(
    program: Program, letters: list[str], lines: list[Line]
) -> list[tuple[int, str, int]]:
    """For each line the last operation in it, and the letter that it has changed, if any."""
    letter_of = {f"x{i}": letter for i, letter in enumerate(letters)}
    last: dict[int, tuple[str, int]] = {}
    for i, (step, line) in enumerate(zip(program.steps, program.lines, strict=True)):
        letter = letter_of.get(str(step.operands[0]), "") if step.in_place else ""
        if letter:
            letter_of[step.name] = letter
        last[lines.index(line)] = (letter, i)
    return [(line, letter, i) for line, (letter, i) in last.items()]


def _find_source(update: Update, used: list[Line]) -> list[Line]:
    """The lines of the rule and of what belongs to it, and those that are used besides."""
    functions = [update.move and update.move.rule, update.rule]
    if update.step_numbers:
        functions.insert(1, update.step_numbers.function)
    found: list[Line] = []
    for function in filter(None, functions):
        found += _body(Line(function.__code__.co_filename, function.__code__.co_firstlineno + 2))
    for line in used:
        engine = "engine" in Path(line.file).parts
        found += [line] if engine else _body(line)
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda line: "engine" not in Path(line.file).parts)


def _body(line: Line) -> list[Line]:
    """The lines of the function around a line, without its head and its docstring."""
    functions = [node for node in ast.walk(_tree(line.file)) if isinstance(node, ast.FunctionDef)]
    around = [f for f in functions if f.lineno <= line.number <= (f.end_lineno or 0)]
    body = max(around, key=lambda f: f.lineno).body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    first, last = body[0].lineno, body[-1].end_lineno or 0
    return [Line(line.file, number) for number in range(first, last + 1)]


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


def _describe_line(line: Line) -> dict[str, Any]:
    text = Path(line.file).read_text(encoding="utf-8").splitlines()[line.number - 1]
    file = Path(line.file).relative_to(ROOT).as_posix()
    return {"file": file, "line": line.number, "text": text.removeprefix("        ")}


def _write_numbers(
    optimizer: Optimizer, p: torch.nn.Parameter, update: Update, group: dict[str, Any]
) -> str:
    """Writes the numbers of a step that a method makes itself."""
    own = update.step_numbers
    if own is None:
        return "null"
    first = {name: optimizer.first_value(name, p, group) for name in own.kept}
    singles = {k for k, v in first.items() if v is not None and v.dtype == torch.float32}
    names = [*own.names, *(("t",) if own.takes_t else ()), *own.kept]
    taken = [name for name in names if name in number_names(own.function)]
    given = group | first | {"t": 1.0}
    fixed = {name: given[name] for name in taken if given[name] is None or given[name] is False}
    counts = {n: len(given[n]) if isinstance(given[n], tuple) else 0 for n in taken if n not in fixed}
    label = f"{type(optimizer).__name__}.numbers"
    read = read_function(label, lambda **n: own.function(**n, **fixed), (), counts)
    flat = _spread(counts, given)
    single = [f"n{flat.index(name)}" for name in singles if name in flat]
    ways = [write_function(program, write_value(made), single) for program, made in read]
    kept = {name: value.item() for name, value in first.items() if value is not None}
    return _braces(
        [f"numbers: {json.dumps(flat)}", f"kept: {json.dumps(kept)}", f"ways: [{', '.join(ways)}]"]
    )


def _write_limit(cls: type[Optimizer], group: dict[str, Any]) -> str:
    """Writes the largest stable lr·λ of a group; null where a method knows none."""
    limit = cls.stability_limit
    if limit is None:
        return "null"
    return _write_function(f"{cls.__name__}.stability_limit", limit, (), group)


def _write_preconditioner(cls: type[Optimizer], update: Update, group: dict[str, Any]) -> str:
    """Writes P, of which λ is divided by, as a function of the buffers; null where it is 1."""
    if cls.preconditioner is None:
        return "null"

    def preconditioner(*buffers: Any, t: Any, **numbers: Any) -> Any:
        state = dict(zip(update.keys, buffers, strict=True)) | {"step": t}
        return cls.preconditioner(state, group | numbers)

    names = [name for name in update.names if name in group]
    return _write_function(
        f"{cls.__name__}.preconditioner", preconditioner, update.keys, group, [*names, "t"]
    )


def _write_function(
    label: str,
    function: Any,
    letters: Sequence[str],
    group: dict[str, Any],
    names: Sequence[str] = (),
) -> str:
    """Writes a function of elements and numbers that returns a number."""
    given = group | {"t": 1.0}
    names = names or number_names(function)
    fixed = {name: given[name] for name in names if given[name] is None or isinstance(given[name], bool)}
    counts = {n: len(given[n]) if isinstance(given[n], tuple) else 0 for n in names if n not in fixed}
    read = read_function(label, lambda *x, **n: function(*x, **n, **fixed), letters, counts)
    ways = [write_function(program, write_value(value)) for program, value in read]
    return _braces(
        [f"numbers: {json.dumps(_spread(counts, given))}", f"ways: [{', '.join(ways)}]"]
    )


def _braces(entries: list[str]) -> str:
    return "{\n" + indent(",\n".join(entries), "  ") + "\n}"
