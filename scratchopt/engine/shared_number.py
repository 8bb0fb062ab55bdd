"""A number that is one for all parameters of a bucket, such as the count of their steps."""

from operator import is_
from typing import Any

import torch
from torch import Tensor


class SharedNumber:
    """A number of each parameter's state, all alike, in one tensor, so that one call writes all.

    Args:
        key: of the number in the states, which then have views of that tensor.
        states: of the parameters.
    """

    __slots__ = ("_all", "_key", "_own", "_states", "_value", "_version")

    def __init__(self, key: str, states: list[dict[str, Any]]) -> None:
        self._key, self._states = key, states
        self._all = torch.stack([state[key] for state in states])
        self._own = list(self._all.unbind())
        self._version, self._value = self._all._version, self._all[0].item()
        for state, own in zip(states, self._own, strict=True):
            state[key] = own

    @property
    def first(self) -> Tensor:
        """The number, as the first parameter has it."""
        return self._own[0]

    def is_undisturbed(self) -> bool:
        """True if nobody else has changed the number, or put another in its place."""
        own = [state[self._key] for state in self._states]
        return all(map(is_, own, self._own)) and self._all._version == self._version

    def add(self, amount: float) -> float:
        """Adds to the number; returns it."""
        self._all += amount
        self._version, self._value = self._all._version, self._value + amount
        return self._value

    def write(self, value: Tensor) -> None:
        """Gives the number another value."""
        self._all.fill_(value)
        self._version = self._all._version
