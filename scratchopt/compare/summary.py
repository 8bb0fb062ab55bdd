"""What came of runs that differ in the seed alone: numbers, and one learning curve."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import inf, isfinite
from typing import Any

import numpy as np

from scratchopt.compare.runs import FAILURES, Measured, Objective
from scratchopt.compare.statistics import mean_interval, median_interval
from scratchopt.pictures.style import DRAWABLE


def account(runs: Sequence[Measured], objective: Objective) -> dict[str, Any] | None:
    """Of some runs that differ in the seed alone; None, if there are none.

    Means of metrics are taken over the runs that have a number there: `of` them, which is said
    beside the mean where it is not all, as a diverged run has none.

    Returns:
        `n`; `statuses`, how many of each; `missed`, how many did not reach the target; the medians
        `cost_to_target` and `steps_to_target` with their intervals, over all runs, a miss being ∞;
        the means `final`, `best`, `train_loss` and by tag `test` with theirs; `memory`, the most
        bytes; `updates` and `cost`, the means to the end; and the learning `curve`.
    """
    if not runs:
        return None
    statuses = sorted({run.status for run in runs})
    return {
        "n": len(runs),
        "statuses": {status: sum(run.status == status for run in runs) for status in statuses},
        "failures": {kind: sum(run.status == kind for run in runs) for kind in FAILURES},
        "missed": sum(run.to_target is None for run in runs),
        "cost_to_target": _median(runs, lambda run: run.cost_to_target),
        "mean_cost_to_target": asdict(mean_interval([run.cost_to_target for run in runs])),
        "steps_to_target": _median(runs, lambda run: run.steps_to_target),
        "final": _mean(runs, lambda run: run.final(objective)),
        "best": _mean(runs, lambda run: run.best(objective)),
        "train_loss": _mean(runs, lambda run: run.train_loss),
        "test": {
            tag: _mean([run for run in runs if tag in run.test], lambda run, t=tag: run.test[t])
            for tag in sorted({tag for run in runs for tag in run.test})
        },
        "updates": _mean(runs, lambda run: run.updates),
        "cost": _mean(runs, lambda run: run.cost),
        "memory": max((run.memory for run in runs if run.memory is not None), default=None),
        "curve": learning_curve(runs, objective),
    }


def _median(runs: Sequence[Measured], cost: Callable[[Measured], float]) -> dict[str, Any]:
    return asdict(median_interval([cost(run) for run in runs]))


def _mean(runs: Sequence[Measured], reading: Callable[[Measured], float]) -> dict[str, Any]:
    """Of the runs that have a number there; `of`, how many these are."""
    values = [value for run in runs if isfinite(value := reading(run))]
    return asdict(mean_interval(values)) | {"of": len(values)}


def told(run: Measured, objective: Objective) -> dict[str, Any]:
    """All of a run but its times and the place where it lies."""
    return {
        "optimizer": run.optimizer,
        "settings": dict(run.settings),
        "seed": run.seed,
        "status": run.status,
        "cost_to_target": run.cost_to_target,
        "steps_to_target": run.steps_to_target,
        "final": run.final(objective),
        "best": run.best(objective),
        "train_loss": run.train_loss,
        "test": dict(run.test),
        "updates": run.updates,
        "cost": run.cost,
        "memory": run.memory,
        "error": run.error,
        "versions": dict(run.versions),
        "readings": [[point.steps, point.cost, point.value] for point in run.points],
    }


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
