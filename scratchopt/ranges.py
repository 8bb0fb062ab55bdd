"""The values that a hyperparameter may take. Free of torch, so that a bad one is found fast."""

from math import inf
from typing import Any, NamedTuple


class Range(NamedTuple):
    """The half-open interval low <= value < high; NaN and infinity lie outside."""

    label: str
    low: float
    high: float = inf

    def describe(self, name: str) -> str:
        """The range as a condition on `name`, to close an error message with."""
        if self.high == inf:
            return f"{name} >= {self.low:g}"
        return f"{self.low:g} <= {name} < {self.high:g}"


RANGES = {
    "lr": Range("learning rate", 0),
    "momentum": Range("momentum value", 0, 1),
    "weight_decay": Range("weight_decay value", 0),
    "damping": Range("damping value", 0),
}


def check(name: str, value: Any) -> None:
    """Raises `ValueError` if hyperparameter `name` has a range and `value` lies outside it.

    >>> check("momentum", 1.2)
    Traceback (most recent call last):
    ValueError: Invalid momentum value: 1.2 (0 <= momentum < 1)
    """
    allowed = RANGES.get(name)
    if allowed is None:
        return
    try:
        inside = bool(allowed.low <= value < allowed.high)
    except TypeError:
        inside = False
    if not inside:
        raise ValueError(f"Invalid {allowed.label}: {value} ({allowed.describe(name)})")
