"""The programs of a method in JavaScript: of a rule, of a move, of numbers."""

import json
from collections.abc import Callable, Iterable, Sequence
from textwrap import indent
from typing import Any

import torch

from scratchopt.engine.js_source import write_function, write_value
from scratchopt.engine.program import Line, Program
from scratchopt.engine.trace import read_function
from scratchopt.engine.update import StepNumbers, Update
from scratchopt.playground.source_lines import find_written

Group = dict[str, Any]


def write_object(entries: dict[str, str]) -> str:
    """Writes an object of expressions by name."""
    lines = ",\n".join(f"{key}: {value}" for key, value in entries.items())
    return "{\n" + indent(lines, "  ") + "\n}"


def write_json(value: Any) -> str:
    """Writes plain data, which may stand in a page."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def write_update(
    update: Update, programs: list[Program], letters: list[str], lines: list[Line], group: Group
) -> str:
    """Writes a rule or a move: a function for each way through its branches.

    A function returns the new elements as x and what each operation came to as y; `written` says
    which of these stand in which line of the source.
    """
    made = update.step_numbers.made if update.step_numbers else ()
    names = spread(update.names, group)
    for name, count in made:
        if name in update.made:
            names += [f"{name}[{i}]" for i in range(count)] if count else [name]
    ways = []
    for program in programs:
        returned = {"x": program.results, "y": [step.name for step in program.steps]}
        way = {
            "written": write_json(find_written(program, letters, lines)),
            "run": write_function(program, write_value(returned)),
        }
        ways.append(write_object(way))
    names += ["t"] if update.takes_t else []
    return _write_ways(names, ways)


def write_numbers(
    label: str, own: StepNumbers, first: dict[str, torch.Tensor], taken: list[str], group: Group
) -> str:
    """Writes the numbers of a step that a method makes itself; `kept` has where they start.

    Args:
        label: of the method's function, for messages.
        own: what it takes and makes.
        first: the first values of the numbers that are kept.
        taken: names of its arguments.
        group: with the hyperparameters.
    """
    single = [name for name, value in first.items() if value.dtype == torch.float32]
    kept = {name: value.item() for name, value in first.items()}
    program = write_program(label, own.function, (), taken, group | kept, single)
    return f"{{kept: {write_json(kept)}, ...{program}}}"


def write_program(
    label: str,
    function: Callable[..., Any],
    letters: Sequence[str],
    names: Iterable[str],
    group: Group,
    single: Sequence[str] = (),
) -> str:
    """Writes a function of tensors and numbers, which returns numbers, or an element of a tensor.

    Args:
        label: of the function, for messages.
        function: takes tensors, and numbers by name.
        letters: of the tensors.
        names: of the numbers; where the group has None or a truth value, it is taken as it is.
        group: with the numbers.
        single: names of those that are float32.
    """
    given: dict[str, Any] = group | {"t": 1.0}
    fixed = {n: given[n] for n in names if given[n] is None or isinstance(given[n], bool)}
    counts = {n: len(given[n]) if isinstance(given[n], tuple) else 0 for n in names}
    counts = {name: count for name, count in counts.items() if name not in fixed}
    flat = spread(counts, given)
    rounded = [f"n{flat.index(name)}" for name in single if name in flat]
    read = read_function(label, lambda *x, **n: function(*x, **n, **fixed), letters, counts)
    ways = []
    for program, value in read:
        kept = {name: f"Math.fround({write_value(value[name])})" for name in single}
        ways.append(write_function(program, write_value(value | kept if kept else value), rounded))
    return _write_ways(flat, ways)


def spread(names: Iterable[str], group: Group) -> list[str]:
    """Names all numbers one after another, as `flatten_numbers` lists them."""
    found = []
    for name in names:
        several = isinstance(group[name], tuple | list)
        found += [f"{name}[{i}]" for i in range(len(group[name]))] if several else [name]
    return found


def _write_ways(numbers: list[str], ways: list[str]) -> str:
    return write_object({"numbers": write_json(numbers), "ways": f"[{', '.join(ways)}]"})
