"""How much the lr matters: what came of each, and how wide the good ones lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite, log, log10
from statistics import fmean, median

from scratchopt.compare.runs import Measured, Objective, Study
from scratchopt.compare.trials import LR, by_settings, in_its_sign, level, outcome

FACTOR = 1.25  # times the least cost that is still good
PART = 0.01  # of the best metric by which a good one may be worse: a point of an accuracy near 1


@dataclass(frozen=True)
class Sensitivity:
    """What the lr decides.

    Args:
        curve: pairs of an lr, rising, and the outcome there: the cost to the target, or the metric
            at the end; the median over seeds, at the best of the other settings.
        divergence_rate: the share of trials that diverged.
        basin_width: decades of lr, around the best, whose outcome is good; None, if none is.
        basin: the least and the greatest lr of these.
        open: whether the basin reaches the least or the greatest lr tried, and so may be wider.
    """

    curve: tuple[tuple[float, float], ...]
    divergence_rate: float
    basin_width: float | None
    basin: tuple[float, float] | None
    open: bool


def sensitivity(study: Study, objective: Objective, decide: str) -> Sensitivity | None:
    """Of the trials of one optimizer; None, if there are none with an lr > 0.

    Good is what costs at most 1.25 times the least, or a metric that is worse than the best by at
    most 1 % of it. The basin is the stretch around the best lr where the curve is good. Between two
    lrs the curve is a straight line, over the logarithm of the lr; a cost enters by its logarithm.
    Next to an lr without an outcome, where runs diverged or missed the target, the basin ends at
    the last good lr that was tried.
    """
    trials = [run for run in study.trials if run.settings.get(LR, 0) > 0]
    if not trials:
        return None
    lost = fmean(run.status == "diverged" for run in trials)
    best = _best_at_each(trials, objective, decide)
    curve = tuple((lr, in_its_sign(best[lr], objective, decide)) for lr in sorted(best))
    if not any(map(isfinite, best.values())):
        return Sensitivity(curve, lost, None, None, False)
    levels = [(log10(lr), level(best[lr], decide)) for lr in sorted(best)]
    i = min(range(len(levels)), key=lambda i: levels[i][1])
    least = levels[i][1]
    allowed = least + (log(FACTOR) if decide == "cost" else PART * abs(least))
    low, high = _end(levels[i::-1], allowed), _end(levels[i:], allowed)
    reaches = low == levels[0][0] or high == levels[-1][0]
    return Sensitivity(curve, lost, high - low, (10**low, 10**high), reaches)


def _best_at_each(
    trials: Sequence[Measured], objective: Objective, decide: str
) -> Mapping[float, float]:
    found: dict[float, float] = {}
    for runs in by_settings(trials).values():
        lr = float(runs[0].settings[LR])
        middle = median(outcome(run, objective, decide) for run in runs)
        found[lr] = min(found.get(lr, inf), middle)
    return found


def _end(levels: Sequence[tuple[float, float]], allowed: float) -> float:
    """Where the curve, on the way from its first point to its last, leaves what is allowed."""
    for (x, y), (further, above) in pairwise(levels):
        if above > allowed:
            return x + (further - x) * (allowed - y) / (above - y) if isfinite(above) else x
    return levels[-1][0]
