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
    "cg_iters": Range("cg_iters value", 1),
    "cg_tol": Range("cg_tol value", 0, 1),
    "betas": Range("beta parameter", 0, 1),
    "alpha": Range("alpha value", 0),
    "eps": Range("epsilon value", 0),
    "lr_decay": Range("lr_decay value", 0),
    "initial_accumulator_value": Range("initial_accumulator_value value", 0),
}


def check(name: str, value: Any) -> None:
    """Raises `ValueError` if hyperparameter `name` has a range and `value` lies outside it.

    Each number of a pair has to lie inside.

    >>> check("momentum", 1.2)
    Traceback (most recent call last):
    ValueError: Invalid momentum value: 1.2 (0 <= momentum < 1)
    """
    allowed = RANGES.get(name)
    if allowed is None:
        return
    several = isinstance(value, tuple | list)
    for i, number in enumerate(value if several else [value]):
        try:
            inside = bool(allowed.low <= number < allowed.high)
        except TypeError:
            inside = False
        if not inside:
            label = f"{allowed.label} at index {i}" if several else allowed.label
            raise ValueError(f"Invalid {label}: {number} ({allowed.describe(name)})")
