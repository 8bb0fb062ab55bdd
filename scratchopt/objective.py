"""The objective of a task: a metric, and the value of it that counts as reached; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any


@dataclass(frozen=True)
class Objective:
    """The objective of a task: a metric, and the value of it that is the target.

    Args:
        metric: tag of the number, such as `val/accuracy`.
        mode: max or min, as it should be great or small.
        target: the value that counts as reached; None, where the run ends by itself as converged.
    """

    metric: str
    mode: str
    target: float | None

    @classmethod
    def from_keys(cls, keys: Mapping[str, Any]) -> "Objective":
        """The objective that a configuration's `comparison` names by metric, mode and target."""
        return cls(keys["metric"], keys["mode"], keys["target"])

    def is_reached(self, value: float) -> bool:
        """Tells whether a value of the metric is at the target."""
        if self.target is None or not isfinite(value):
            return False
        return value >= self.target if self.mode == "max" else value <= self.target

    def goodness(self, value: float) -> float:
        """The value with the sign that makes greater better; −∞ for NaN."""
        if value != value:
            return -inf
        return value if self.mode == "max" else -value

    @property
    def worst(self) -> float:
        """The worst value there is, ∞ or −∞."""
        return -inf if self.mode == "max" else inf
