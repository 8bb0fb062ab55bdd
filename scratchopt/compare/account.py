"""What came of runs, in plain numbers: of one, and of all that differ in the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from scratchopt.compare.curves import learning_curve
from scratchopt.compare.runs import FAILURES, Measured, Objective
from scratchopt.compare.statistics import mean_interval, median_interval


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
