"""The numbers that a sweep varies, and the scales on which they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scratchopt.plots.settings import SEEDS
from scratchopt.runs.directory import Run

LR = "optimizer.lr"
ENOUGH = 3  # values: two say nothing of what is between them


def find_swept_numbers(runs: Sequence[Run]) -> list[str]:
    """Finds the keys whose numbers differ within an optimizer: the lr, then those of most values.

    Seeds are none. Of the lr two values are enough, of others three.
    """
    found: dict[str, dict[str, set[float]]] = {}
    for run in runs:
        for key, value in run.settings.items():
            if key not in SEEDS and isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(key, {}).setdefault(run.optimizer, set()).add(value)
    counts = {key: max(map(len, by.values())) for key, by in found.items()}
    swept = [key for key, count in counts.items() if count >= (2 if key == LR else ENOUGH)]
    return sorted(swept, key=lambda key: (key != LR, -counts[key]))


def is_logarithmic(values: Sequence[float] | np.ndarray) -> bool:
    """Tells whether numbers lie more evenly on a logarithmic scale than on a linear one."""
    unique = np.unique(np.asarray(values, float))
    if len(unique) < ENOUGH or unique[0] <= 0:
        return False
    return _measure_unevenness(np.log(unique)) < _measure_unevenness(unique)


def _measure_unevenness(rising: np.ndarray) -> float:
    steps = np.diff(rising)
    return float(steps.std() / steps.mean())
