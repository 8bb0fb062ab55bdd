"""The values that a hyperparameter may take. Free of torch, so that a bad one is found fast."""

from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple


class Range(NamedTuple):
    """The interval low <= value < high; NaN and infinity lie outside.

    Args:
        name: of the hyperparameter.
        low: the least value.
        high: what is greater than each.
        label: in torch's messages, where it is not the name and "value".
        numbers: how many it consists of; 0, one.
        optional: whether it, or the first of several, may be None.
        closed: whether high lies inside, too.
    """

    name: str
    low: float
    high: float = inf
    label: str = ""
    numbers: int = 0
    optional: bool = False
    closed: bool = False

    def describe(self) -> str:
        """The range as a condition on its name, to close an error message with."""
        if self.high == inf:
            return f"{self.name} >= {self.low:g}"
        least = "" if self.low == -inf else f"{self.low:g} <= "
        return f"{least}{self.name} {'<=' if self.closed else '<'} {self.high:g}"

    def holds(self, number: Any) -> bool:
        """True if a number lies inside."""
        try:
            inside = self.low <= number < self.high or (self.closed and number == self.high)
            return bool(inside and number > -inf)
        except TypeError:
            return False


# Those of several methods; what a method has alone stands in its class, as `ranges`.
COMMON = (
    Range("lr", 0, label="learning rate"),
    Range("momentum", 0, 1),
    Range("betas", 0, 1, "beta parameter", numbers=2),
    Range("eps", 0, label="epsilon value"),
    Range("weight_decay", 0),
)
COUNTS = {2: "two", 3: "three"}


def check_range(name: str, value: Any, ranges: Sequence[Range] = ()) -> None:
    """Raises `ValueError` if hyperparameter `name` has a range and `value` lies outside it.

    Each number of a pair has to lie inside.

    Args:
        name: of the hyperparameter.
        value: a number, or several.
        ranges: of the method, beside those that are common.

    >>> check_range("momentum", 1.2)
    Traceback (most recent call last):
    ValueError: Invalid momentum value: 1.2 (0 <= momentum < 1)
    """
    allowed = next((known for known in (*ranges, *COMMON) if known.name == name), None)
    if allowed is None or (value is None and allowed.optional):
        return
    several = isinstance(value, tuple | list)
    if allowed.numbers and not (several and len(value) == allowed.numbers):
        raise ValueError(f"Invalid {name}: {value} ({COUNTS[allowed.numbers]} numbers)")
    for i, number in enumerate(value if several else [value]):
        if number is None and allowed.optional and i == 0:
            continue
        if not allowed.holds(number):
            label = allowed.label or f"{name} value"
            label = f"{label} at index {i}" if several else label
            raise ValueError(f"Invalid {label}: {number} ({allowed.describe()})")
