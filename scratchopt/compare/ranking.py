"""Which of two runs, or of two settings with some runs each, is the better."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, log
from statistics import fmean, median
from typing import Any

from scratchopt.compare.runs import Measured, Objective

DECIDE = ("cost", "metric")
LR = "optimizer.lr"


def outcome(run: Measured, objective: Objective, decide: str) -> float:
    """What a run is judged by, such that less is better; ∞, if nothing came of it.

    Args:
        run: that has ended.
        objective: of its task.
        decide: cost, the gradient evaluations to the target, or metric, the objective's at the end
            with the sign that makes less better.
    """
    if decide not in DECIDE:
        raise ValueError(f"decide={decide}: must be one of {', '.join(DECIDE)}")
    if run.failed:
        return inf
    return run.cost_to_target if decide == "cost" else -objective.goodness(run.final(objective))


def in_its_sign(value: float, objective: Objective, decide: str) -> float:
    """An outcome, or a mean of some, as a reader knows it: costs as they are, metrics as read."""
    return -value if decide == "metric" and objective.mode == "max" else value


def level(value: float, decide: str) -> float:
    """Where an outcome lies on the scale on which differences are taken: costs by the logarithm."""
    return log(max(value, 1.0)) if decide == "cost" and isfinite(value) else value


def rank(runs: Sequence[Measured], objective: Objective, decide: str, default: float) -> Any:
    """A key that sorts settings, the best first, by their runs, which differ in the seed alone.

    The share of runs that failed comes first, then the share of those that missed the target, if
    costs decide, then the outcome: the mean of the logarithms of the costs, or of the metrics. If
    none reached the target, or two are alike, the best reading of the metric decides; then, what
    is nearer to the default lr. Of settings of which all runs failed the least lr comes first:
    it is the one to go on from.
    """
    lr = float(runs[0].settings[LR])
    failed = fmean(run.failed for run in runs)
    if failed == 1.0:
        return failed, 0.0, 0.0, 0.0, lr, lr
    outcomes = [x for run in runs if isfinite(x := outcome(run, objective, decide))]
    missed = 1 - len(outcomes) / len(runs)
    readings = median(-objective.goodness(run.best(objective)) for run in runs if not run.failed)
    middle = fmean(level(x, decide) for x in outcomes) if outcomes else 0.0
    return failed, missed, middle, readings, abs(log(lr / default)) if lr > 0 else inf, lr
