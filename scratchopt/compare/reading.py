"""Runs as a comparison sees them: read from their results, or from the logs of older ones."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Any

import numpy as np

from scratchopt.compare.measured import FAILURES, Measured, Objective, Point, first_reached
from scratchopt.config.fields import UserError
from scratchopt.plots.x_axis import compute_x_values
from scratchopt.runs.directory import Run
from scratchopt.runs.result import Result

COMPLETE = ("finished", "converged", *FAILURES)  # ways in which a run can have ended


def measured(run: Run, objective: Objective, settings: Mapping[str, Any]) -> Measured:
    """A run that has come to its end.

    Args:
        run: with a result.
        objective: what is asked of the task.
        settings: what was searched.

    Raises:
        UserError: a run without a result, or one that has logged nothing of the objective's metric
            though it has finished.
    """
    result = run.result
    if result is None:
        raise UserError(f"{run.directory}: it has not ended; go on with it, or leave it out")
    metrics = result.metrics
    points = _points(run, result, objective.metric)
    if not points and result.status in ("finished", "converged"):
        known = sorted(tag for tag in metrics if not tag.startswith("test/"))
        raise UserError(
            f"comparison.metric={objective.metric}: {run.directory} has none; give one of "
            f"{', '.join(known)}"
        )
    return Measured(
        address=run.directory.name,
        optimizer=run.optimizer,
        settings=dict(settings),
        seed=run.config["seed"],
        status=result.status,
        points=points,
        to_target=_reached(points, objective, result),
        train_loss=metrics.get("train/loss", nan),
        test={tag: metrics[tag] for tag in sorted(metrics) if tag.startswith("test/")},
        batch=run.config["task"].get("batch_size"),
        updates=result.updates,
        cost=result.cost,
        seconds=result.training_seconds,
        memory=sum(result.memory.values()) if result.memory else None,
        versions=result.versions,
        error=result.error,
    )


def _points(run: Run, result: Result, metric: str) -> tuple[Point, ...]:
    """The readings, from the validations, or from the log, where alone the training's are."""
    validated = tuple(
        Point(int(row["steps"]), row["cost"], row["seconds"], row[metric])
        for row in result.validations
        if metric in row
    )
    return validated or _logged(run, result, metric)


def _logged(run: Run, result: Result, metric: str) -> tuple[Point, ...]:
    """The training's number of a step is of before its update; steps are taken as equally long."""
    if metric not in run.history or not result.updates:
        return ()
    steps, values = np.array(run.history[metric], dtype=float).T
    last = steps if metric.startswith("train/") else np.maximum(steps - 1, 0)
    costs = compute_x_values(run, last, "evaluations")
    seconds = steps * result.training_seconds / result.updates
    return tuple(
        Point(int(step), float(cost), float(second), float(value))
        for step, cost, second, value in zip(steps, costs, seconds, values, strict=True)
    )


def _reached(points: tuple[Point, ...], objective: Objective, result: Result) -> Point | None:
    if result.status in FAILURES:
        return None
    if objective.target is None and result.status == "converged":
        last = points[-1].value if points else nan
        return Point(result.updates, result.cost, result.training_seconds, last)
    return first_reached(points, objective)
