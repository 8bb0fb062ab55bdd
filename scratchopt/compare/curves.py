"""Learning curves of some runs as one: the median with the quartiles, over what it has cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import inf, isfinite

import numpy as np

from scratchopt.compare.runs import Measured, Objective
from scratchopt.pictures.style import DRAWABLE

PLACES = 200  # along the x axis, at most
_NEVER = 1e250  # stands for ∞, with which quantiles cannot be taken


def learning_curve(runs: Sequence[Measured], objective: Objective) -> dict[str, list[float]]:
    """Median and quartiles of the metric's last reading, at every cost where a run has one.

    A run that ended well keeps its last reading, so that an early end does not change who is in the
    median; one that diverged or failed is the worst there is after its last reading, and from the
    start if it has none.

    Returns:
        `cost`, rising and from where all runs have a reading; `median`, `low` and `high`, as long.
    """
    runs = [run for run in runs if run.points or run.failed]
    costs = sorted({point.cost for run in runs for point in run.points})
    if not costs:
        return {"cost": [], "median": [], "low": [], "high": []}
    start = max(run.points[0].cost for run in runs if run.points)
    costs = [cost for cost in costs if cost >= start]
    if len(costs) > PLACES:
        costs = [costs[i] for i in np.linspace(0, len(costs) - 1, PLACES).astype(int)]
    table = np.array([[_reading(run, cost, objective) for cost in costs] for run in runs])
    quartiles = np.quantile(np.clip(table, -_NEVER, _NEVER), (0.25, 0.5, 0.75), axis=0)
    quartiles[np.abs(quartiles) > DRAWABLE] *= inf  # between ∞ and a number there is no quantile
    low, median, high = quartiles.tolist()
    return {"cost": costs, "median": median, "low": low, "high": high}


def _reading(run: Measured, cost: float, objective: Objective) -> float:
    at = bisect_right([point.cost for point in run.points], cost) - 1
    beyond = not run.points or (at == len(run.points) - 1 and cost > run.points[at].cost)
    if (run.failed and beyond) or not isfinite(run.points[at].value):
        return -inf if objective.mode == "max" else inf
    return run.points[at].value
