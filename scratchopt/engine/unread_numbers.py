"""The numbers of a step made from tensors that nobody may read, as a CUDA graph repeats them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.operations import RuleError
from scratchopt.engine.step_numbers import make_numbers
from scratchopt.engine.update import Numbers, StepNumbers, label_of

WAYS = 32  # through the branches of a method's numbers, at most


def make_unread_numbers(
    numbers: StepNumbers, group: Numbers, t: Any, kept: Mapping[str, Any]
) -> Numbers:
    """Makes the numbers of a step as `make_numbers` does, without a look at their values.

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
