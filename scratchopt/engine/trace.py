"""Reads a rule, which is written for people, as lists of operations for every driver.

A rule is read on stand-ins, which write down what is done to them and refuse what no rule may do.
It is read before the first step, whatever the driver is, so that each refuses the same. Where it
branches on its numbers, each way through it is a program of its own.
"""

import sys
from collections.abc import Callable, Sequence
from math import nan
from typing import Any, TypeVar

import torch

from scratchopt.engine import operations, stand_ins
from scratchopt.engine.operations import OPERATIONS, PERMITTED, RuleError
from scratchopt.engine.program import Line, Program, Step, in_python
from scratchopt.engine.stand_ins import OUTSIDE, USE_WHERE, Mask, Number, StandIn, Tensor

WAYS = 32  # through the branches of a rule, at most
_MASKS = {"and_": 2, "or_": 2, "invert": 1, "where": 1}  # operands that are comparisons
_READER_FILES = (__file__, operations.__file__, stand_ins.__file__)  # an operation comes through
Reading = TypeVar("Reading")


def read_rule(
    name: str,
    apply: Callable[..., None],
    letters: Sequence[str],
    read_only: dict[str, str],
    numbers: dict[str, int],
) -> list[Program]:
    """Reads a rule on stand-ins: each way through its branches, twice.

    Args:
        name: of the rule, for messages.
        apply: takes tensors, and numbers by name.
        letters: of the tensors.
        read_only: letters of those that it must leave alone, with what to say if it does not.
        numbers: by name, of how many each consists: 0 for a number, 2 for a pair.

    Returns:
        A program for each way through its branches.

    Raises:
        RuleError: an operation that no rule may use, or another outcome of the second reading.
    """
    return _follow_ways(name, lambda reader: reader.read(apply, letters, read_only, numbers))


def read_function(
    name: str, function: Callable[..., Any], letters: Sequence[str], numbers: dict[str, int]
) -> list[tuple[Program, Any]]:
    """Reads a function that returns something, as `read_rule` reads a rule.

    Returns:
        For each way through its branches a program, and what is returned there: a number, a tensor,
        or several by name, each as its name in the program or as a plain number; those of a pair d
        are d[0] and d[1].
    """

    def read(reader: "Reader") -> tuple[Program, Any]:
        returned: list[Any] = []

        def apply(*tensors: Any, **own: Any) -> None:
            returned.append(reader.spell(function(*tensors, **own)))

        return reader.read(apply, letters, {}, numbers), returned[0]

    return _follow_ways(name, read)


def _follow_ways(name: str, read: "Callable[[Reader], Reading]") -> "list[Reading]":
    """Reads each way through the branches, twice."""
    found, ahead = [], [()]
    while ahead:
        outcomes = ahead.pop()
        reader, other = Reader(name, outcomes), Reader(name, outcomes)
        first, second = read(reader), read(other)
        if first != second:
            change = _difference(first, second)
            raise RuleError(
                f"{name} came to something else when it was read again{change}: it "
                "may depend on p, g, its buffers and its numbers alone, not on a random number, a "
                "clock or a counter (docs/reference/rules.md)"
            )
        found.append(first)
        taken = [outcome for _, outcome in reader.branches]
        ahead += [(*taken[:i], False) for i in range(len(outcomes), len(taken))]
        if len(found) + len(ahead) > WAYS:
            raise reader.refuse_branches()
    return found


def _difference(first: Any, second: Any) -> str:
    """The numbers in which two readings differ, if it is numbers."""
    first, second = (x if isinstance(x, Program) else x[0] for x in (first, second))
    pairs = [
        (a, b)
        for one, other in zip(first.steps, second.steps, strict=False)
        for a, b in zip(one.operands, other.operands, strict=False)
        if a != b and not isinstance(a, str) and not isinstance(b, str)
    ]
    return f", {pairs[0][0]} and then {pairs[0][1]}" if pairs else ""


class Reader:
    """Writes down what a rule does, on the way that the outcomes of its first branches choose."""

    def __init__(self, name: str, outcomes: tuple[bool, ...]) -> None:
        self.name, self._outcomes = name, outcomes
        self.branches: list[tuple[str, bool]] = []  # conditions and their outcomes, in order
        self._steps: list[Step] = []
        self._places: list[Line] = []  # of the steps
        self._lines: list[str] = []  # of the arithmetic
        self._known: dict[Any, str] = {}  # names of numbers by what they are
        self._factors: dict[str, str] = {}  # names of factors by those of numbers

    def read(
        self,
        apply: Callable[..., None],
        letters: Sequence[str],
        read_only: dict[str, str],
        numbers: dict[str, int],
    ) -> Program:
        """Reads a rule once; the arguments are those of `read_rule`."""
        tensors = [
            Tensor(self, f"x{i}", letter, read_only.get(letter, ""))
            for i, letter in enumerate(letters)
        ]
        flat: list[str] = []

        def number(name: str) -> Number:
            flat.append(f"n{len(flat)}")
            return Number(self, flat[-1], name)

        stand_ins = {
            name: tuple(number(f"{name}[{i}]") for i in range(count)) if count else number(name)
            for name, count in numbers.items()
        }
        try:
            apply(*tensors, **stand_ins)
        except RuleError:
            raise
        except Exception as error:
            first, *_ = str(error).strip().splitlines() or [""]
            raise RuleError(
                f"{self.name} fails: {type(error).__name__}: {first}. A rule may use {PERMITTED} "
                "(docs/reference/rules.md)"
            ) from error
        lines = [*self._lines, f"return ({''.join(f'{name}, ' for name in self._factors)})"]
        source = f"def arithmetic({', '.join(flat)}):\n" + "\n".join(f"    {x}" for x in lines)
        results = tuple(tensor.value for tensor in tensors)
        steps, places = tuple(self._steps), tuple(self._places)
        return Program(source, len(self._factors), steps, results, places)

    def refuse(self, what: str, instead: str = "") -> RuleError:
        """Makes the one error of all that a rule may not do."""
        return RuleError(
            f"{self.name} uses {what}{instead and f' ({instead})'}. A rule works on each element "
            f"by itself and may use {PERMITTED}; what needs a whole tensor, such as a norm, a sum "
            'or a shape, declares shape = "tensor" in its class, products of matrices "matrix", '
            'and sums over all parameters "global" (docs/reference/rules.md)'
        )

    def refuse_branches(self) -> RuleError:
        """Makes the error of a rule with too many branches, as a loop over numbers has."""
        return RuleError(
            f"{self.name} branches on its numbers in more than {WAYS} ways: a loop that ends by "
            "them no rule may have (docs/reference/rules.md)"
        )

    def step(self, operation: str, *operands: Any, in_place: bool = False) -> Any:
        """Writes an operation on tensors down; returns its result."""
        wanted = _MASKS.get(operation, 0)
        for i, operand in enumerate(operands):
            if isinstance(operand, Mask) != (i < wanted):
                raise self.refuse(f"a comparison in {OPERATIONS[operation].spelling}", USE_WHERE)
        names = tuple(self._operand(operand) for operand in operands)
        self._steps.append(Step(f"y{len(self._steps)}", operation, names, in_place))
        self._places.append(_find_line())
        kind = Mask if OPERATIONS[operation].gives_mask else Tensor
        return kind(self, self._steps[-1].name, "(…)")

    def compute(self, template: str, *operands: Any) -> Number:
        """Writes arithmetic of numbers down; returns its result."""
        values = [x.value if isinstance(x, Number) else self.constant(x) for x in operands]
        text = template.format(*map(in_python, values))
        if text not in self._known:
            self._known[text] = f"a{len(self._known)}"
            self._lines.append(f"{self._known[text]} = {text}")
        return Number(self, self._known[text], "a number")

    def decide(self, condition: str) -> bool:
        """Chooses the way at a branch."""
        for known, outcome in self.branches:
            if known == condition:
                return outcome
        at = len(self.branches)
        if at == WAYS:
            raise self.refuse_branches()
        outcome = self._outcomes[at] if at < len(self._outcomes) else True
        self.branches.append((condition, outcome))
        self._lines.append(f"if {'not ' * outcome}{condition}: return None")
        return outcome

    def constant(self, value: Any) -> float:
        """A number that stands in the rule, or comes from outside of it."""
        if isinstance(value, torch.Tensor):
            raise self.refuse("a tensor from outside", OUTSIDE)
        try:
            number = value if type(value) in (int, float, bool) else float(value)
        except (TypeError, ValueError):
            raise self.refuse(f"{value!r} as a number") from None
        return number if number == number else nan  # one object, so that readings compare

    def spell(self, value: Any) -> Any:
        """Spells what a function returns: a tensor, a number, or several by name."""
        if isinstance(value, dict):
            return {
                name: self._operand(number)
                for key, one in value.items()
                for name, number in _name_numbers(key, one).items()
            }
        return self._operand(value)

    def _operand(self, operand: Any) -> str | float:
        if isinstance(operand, Number):
            return self._factors.setdefault(operand.value, f"f{len(self._factors)}")
        return operand.value if isinstance(operand, StandIn) else self.constant(operand)


def _name_numbers(key: str, value: Any) -> dict[str, Any]:
    """Names a number, or each of several."""
    if not isinstance(value, tuple | list):
        return {key: value}
    return {f"{key}[{i}]": number for i, number in enumerate(value)}


def _find_line() -> Line:
    """Finds the line that a step comes from: the innermost one outside of the reading."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename in _READER_FILES and frame.f_back:
        frame = frame.f_back
    return Line(frame.f_code.co_filename, frame.f_lineno)
