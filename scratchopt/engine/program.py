"""A program: a rule, or a way through its branches, as lists of operations for a compiler."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, nan
from typing import Any, NamedTuple

from scratchopt.engine.operations import OPERATIONS


class Step(NamedTuple):
    """An operation of a program: `name` is what `operation` makes of the operands.

    An operand is a name or a number. Names are x0, x1, … of the tensors, f0, f1, … of the factors,
    and y0, y1, … of results.
    """

    name: str
    operation: str
    operands: tuple[str | float, ...]
    in_place: bool = False  # whether the first operand becomes the result


class Line(NamedTuple):
    """A line of Python in which a rule was read."""

    file: str
    number: int


@dataclass(frozen=True)
class Program:
    """A way through a rule, in two parts: arithmetic of its numbers, in Python, and of its tensors.

    Left among the tensors, a factor such as √(1 − β₂ᵗ) would be computed anew for every element.

    Args:
        source: of a function of all numbers, as `flatten_numbers` lists them: it gives the factors
            that tensors meet, or None where the numbers go another way.
        factors: how many these are.
        steps: on tensors and factors, in order.
        results: the name of each tensor's last value, its own where it was left alone.
        lines: where each step stands in the rule, or in what it calls; two programs of the same
            operations are the same, wherever they stand.
    """

    source: str
    factors: int
    steps: tuple[Step, ...]
    results: tuple[str, ...]
    lines: tuple[Line, ...] = field(default=(), compare=False)

    def written(self, compensated: bool = False) -> list[int]:
        """Indices of the tensors that get another value, and of their compensations at the end."""
        count = len(self.results)
        own = [i for i, result in enumerate(self.results) if result != f"x{i}"]
        return [*own, *range(count, count + compensated * len(own))]

    def reading_from_last(self) -> "Program":
        """The program with one more tensor, where it reads what it takes for the first's value."""
        last = f"x{len(self.results)}"

        def moved(names: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(last if name == "x0" else name for name in names)

        steps = tuple(step._replace(operands=moved(step.operands)) for step in self.steps)
        return replace(self, steps=steps, results=(*moved(self.results), last))

    @cached_property
    def arithmetic(self) -> Callable[..., tuple[float, ...] | None]:
        """The function of the source."""
        return _run_source(self.source, "arithmetic", {})

    def function(self) -> Callable[..., None]:
        """A function of tensors and factors, which changes the tensors in place.

        A tensor whose result is another's old value, as that of θ's copy in a move is, stays as it
        is: who calls the function has made the copy.
        """
        names = [f"x{i}" for i in range(len(self.results))]
        names += [f"f{k}" for k in range(self.factors)]
        lines = [
            f"{step.name} = {step.operation}({', '.join(map(in_python, step.operands))})"
            for step in self.steps
        ]
        changed = [i for i in self.written() if not self.results[i].startswith("x")]
        lines += [f"x{i}.copy_({self.results[i]})" for i in changed]
        source = f"def whole({', '.join(names)}):\n" + "\n".join(f"    {line}" for line in lines)
        functions = {name: operation.function for name, operation in OPERATIONS.items()}
        return _run_source(source, "whole", functions)


def _run_source(source: str, name: str, names: dict[str, Any]) -> Callable[..., Any]:
    """The function of a source in Python."""
    space = {"inf": inf, "nan": nan, **names}
    exec(compile(source, f"<{name} of a rule>", "exec"), space)
    return space[name]


def flatten_numbers(numbers: dict[str, Any]) -> list[float]:
    """Lists all numbers, one after another."""
    several = [value if isinstance(value, tuple) else (value,) for value in numbers.values()]
    return [float(number) for value in several for number in value]


def in_python(operand: str | float) -> str:
    """Spells an operand in Python."""
    return operand if isinstance(operand, str) else f"({operand!r})"
