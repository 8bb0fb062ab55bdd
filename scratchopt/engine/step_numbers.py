"""The numbers of a step that a method makes itself: what its `numbers` take, and how they run."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.operations import RuleError
from scratchopt.engine.update import Numbers, Rule, StepNumbers, label_of, number_names

WAYS = 32  # through the branches of a method's numbers, at most, where all are followed


def read_step_numbers(
    function: Rule | None, kept: tuple[str, ...], group: dict[str, Any], first: Mapping[str, Any]
) -> StepNumbers:
    """Reads what the `numbers` of a method take and make, by calling them as in a first step.

    Args:
        function: the method's own.
        kept: names of those that are kept from step to step.
        group: with the hyperparameters.
        first: the first values of the kept ones.

    Raises:
        RuleError: they take what is not there, or do not make what they must.
    """
    if function is None:
        raise RuleError(
            f"kept_numbers are {', '.join(kept)}, and no numbers() makes them: add a static method "
            f"numbers(*, {', '.join(kept)}) that returns them anew by name"
        )
    if not callable(function):
        raise RuleError(
            f"numbers is {function!r}, and must be a static method that makes the numbers of a "
            "step by name: give the attribute another name"
        )
    label, takes = label_of(function), number_names(function)
    if len(takes) < len(signature(function).parameters):
        raise RuleError(f"{label} must take numbers alone, by name, as in numbers(*, t, lr)")
    names = tuple(name for name in takes if name != "t" and name not in kept)
    for name in names:
        if name not in group:
            raise RuleError(
                f"{label} takes {name}, which is not among kept_numbers, and its param group has "
                f'none: give it a default, as in super().__init__(params, {{"{name}": {name}}}, '
                "**options)"
            )
    numbers = StepNumbers(function, names, "t" in takes, kept, ())
    made = _call(numbers, group, 1.0, first)
    before, again = repr(made), repr(_call(numbers, group, 1.0, first))
    if before != again:
        raise RuleError(
            f"{label} made {before}, and {again} when it was called again: it may depend on what "
            "it takes alone, and must leave that as it is"
        )
    if missing := [name for name in kept if name not in made]:
        raise RuleError(f"{label} must return {', '.join(missing)}: kept_numbers name them")
    return numbers._replace(made=tuple((k, _count(label, k, value)) for k, value in made.items()))


def make_numbers(numbers: StepNumbers, group: Numbers, t: Any, kept: Mapping[str, Any]) -> Numbers:
    """Makes the numbers of a step.

    Args:
        numbers: of the method.
        group: its hyperparameters, as numbers, or as tensors for autograd.
        t: the number of the step.
        kept: those that are kept, as the state has them.
    """
    made = _call(numbers, group, t, kept)
    if len(made) != len(numbers.made) or any(name not in made for name, _ in numbers.made):
        label = label_of(numbers.function)
        before = ", ".join(name for name, _ in numbers.made)
        raise RuleError(
            f"{label} made {', '.join(made)}, and before {before}: in each step the names must be "
            "the same"
        )
    return made


def make_unread_numbers(
    numbers: StepNumbers, group: Numbers, t: Any, kept: Mapping[str, Any]
) -> Numbers:
    """Makes the numbers of a step from tensors that nobody may read, as a CUDA graph repeats them.

    Where the method branches, it is taken each way, and the tensors choose between the outcomes.
    """
    ways, ahead = [], [()]
    while ahead:
        outcomes = ahead.pop()
        way = _Way(label_of(numbers.function), outcomes)
        hyperparameters, own = ({k: way.follow(v) for k, v in d.items()} for d in (group, kept))
        made = make_numbers(numbers, hyperparameters, way.follow(t), own)
        ways.append((way.conditions, made))
        taken = [outcome for _, outcome in way.conditions]
        ahead += [(*taken[:i], False) for i in range(len(outcomes), len(taken))]
    _, chosen = ways.pop()
    for conditions, made in ways:
        holds = [condition if outcome else ~condition for condition, outcome in conditions]
        here = torch.stack(holds).all()
        chosen = {name: _where(here, value, chosen[name]) for name, value in made.items()}
    return {name: _plain(value) for name, value in chosen.items()}


def _call(numbers: StepNumbers, group: Numbers, t: Any, kept: Mapping[str, Any]) -> Numbers:
    function, takes = numbers.function, number_names(numbers.function)
    arguments = {name: group[name] for name in numbers.names}
    arguments |= {name: kept[name] for name in numbers.kept if name in takes}
    if numbers.takes_t:
        arguments["t"] = t
    made = function(**arguments)
    if not isinstance(made, dict):
        raise RuleError(f"{label_of(function)} must return numbers by name, and not {made!r}")
    return made


def _count(label: str, name: str, value: Any) -> int:
    several = isinstance(value, tuple | list)
    for number in value if several else [value]:
        if not (isinstance(number, Tensor) or hasattr(number, "__float__")):
            raise RuleError(f"{label} made {name}, which is {value!r} and no number")
    return len(value) if several else 0


class _Way:
    """A way through the branches of a method's numbers.

    Args:
        label: of the method's function, for messages.
        outcomes: of the first branches; each later one is taken.
    """

    def __init__(self, label: str, outcomes: tuple[bool, ...]) -> None:
        self.label, self._outcomes = label, outcomes
        self.conditions: list[tuple[Tensor, bool]] = []  # with their outcomes, in order

    def follow(self, value: Any) -> Any:
        """A number, or several, whose branches are on this way."""
        if isinstance(value, tuple | list):
            return tuple(map(self.follow, value))
        if not isinstance(value, Tensor):
            return value
        unread = value.as_subclass(_Unread)
        unread.way = self
        return unread

    def decide(self, condition: Tensor) -> bool:
        """Chooses the way at a branch."""
        at = len(self.conditions)
        if at == WAYS:
            raise RuleError(
                f"{self.label} branches on its numbers in more than {WAYS} ways, and all are "
                "followed with capturable: leave it out"
            )
        outcome = self._outcomes[at] if at < len(self._outcomes) else True
        self.conditions.append((_plain(condition) != 0, outcome))
        return outcome


class _Unread(Tensor):
    """A number on a device that nobody may read: both ways are followed at a branch on it."""

    way: _Way

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, _Unread):
            result.way = next(a for a in args if isinstance(a, _Unread)).way
        return result

    def __bool__(self) -> bool:
        return self.way.decide(self)

    def _refuse(self, *_: Any) -> Any:
        raise RuleError(
            f"{self.way.label} reads a number, which a CUDA graph would repeat for ever: write "
            "x ** 0.5 in place of math.sqrt(x), or leave capturable out"
        )

    __float__ = __int__ = __index__ = __round__ = item = tolist = _refuse


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return value.as_subclass(Tensor) if isinstance(value, Tensor) else value


def _where(here: Tensor, value: Any, other: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_where(here, a, b) for a, b in zip(value, other, strict=True))
    return torch.where(here, _plain(value), _plain(other))
