"""A run held against the objective of its task: the readings of its metric, and the target."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Any

import numpy as np

from scratchopt.compare.runs import FAILURES, Reading, ScoredRun, find_first_hit
from scratchopt.config.fields import UserError
from scratchopt.objective import Objective
from scratchopt.plots.x_axis import compute_x_values
from scratchopt.runs.directory import Run
from scratchopt.runs.result import Result

WELL = ("finished", "converged")  # ways in which a run can have ended well
ENDED = (*WELL, *FAILURES)  # ways in which it can have ended at all


def score_run(run: Run, objective: Objective, settings: Mapping[str, Any]) -> ScoredRun:
    """Holds a run against the objective of its task.

    Args:
        run: with a result.
        objective: of the task.
        settings: what was searched.

    Raises:
        UserError: a run without a result, or one that has logged nothing of the objective's metric
            though it has finished.
    """
    result = run.result
    if result is None:
        raise UserError(f"{run.directory}: it has not ended; go on with it, or leave it out")
    readings = _read_validations(result, objective.metric) or _read_log(
        run, result, objective.metric
    )
    if not readings and result.status in WELL:
        known = sorted(tag for tag in result.metrics if not tag.startswith("test/"))
        raise UserError(
            f"comparison.metric={objective.metric}: {run.directory} has none; give one of "
            f"{', '.join(known)}"
        )
    hit = find_first_hit(readings, objective) if result.status in WELL else None
    if objective.target is None and result.status == "converged":
        last = readings[-1].value if readings else nan
        hit = Reading(result.updates, result.cost, result.training_seconds, last)
    return ScoredRun(result, readings, hit, dict(settings), run.directory.name)


def _read_validations(result: Result, metric: str) -> tuple[Reading, ...]:
    return tuple(
        Reading(int(row["steps"]), row["cost"], row["seconds"], row[metric])
        for row in result.validations
        if metric in row
    )


def _read_log(run: Run, result: Result, metric: str) -> tuple[Reading, ...]:
    """Reads the log, where alone the training's numbers are; it takes steps as equally long.

    The training's number of a step is of before its update.
    """
    if metric not in run.history or not result.updates:
        return ()
    steps, values = np.array(run.history[metric], dtype=float).T
    last = steps if metric.startswith("train/") else np.maximum(steps - 1, 0)
    costs = compute_x_values(run, last, "evaluations")
    seconds = steps * result.training_seconds / result.updates
    return tuple(
        Reading(int(step), float(cost), float(second), float(value))
        for step, cost, second, value in zip(steps, costs, seconds, values, strict=True)
    )
