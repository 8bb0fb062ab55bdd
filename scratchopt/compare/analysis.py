"""How hard an optimizer is to tune, and how it does over several tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb, inf, isfinite, log, log10
from statistics import fmean, median

from scratchopt.compare.runs import Comparison, Contest, Measured, Objective, Study
from scratchopt.compare.statistics import median_interval
from scratchopt.compare.trials import LR, by_settings, in_its_sign, level, outcome, rank

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


FEWEST = 3  # points of the grid, without which all settings stand for it


def expected_best(study: Study, objective: Objective, decide: str) -> list[tuple[int, float]]:
    """For k = 1, 2, …: the mean, over all choices of k of the settings, of the best outcome.

    Dodge et al. draw their trials at random, with replacement when they estimate. A grid is no such
    sample: its points are distinct, so k of them are drawn without replacement, and the best of all
    is what k = all brings. They are drawn from the points half a decade apart, extensions included,
    each with its first seed. Those of the refinement lie where the others had shown the best to
    be, and would flatter small k. Where there are not three such points, as where a sampler drew,
    they are drawn from all settings.

    With outcomes x₁ ≤ … ≤ xₘ, less being better, E = Σᵢ xᵢ·C(m − i, k − 1)/C(m, k).

    Returns:
        Pairs of k and the cost, or the metric: ∞, or its worst, for as long as k trials may all
        come to nothing.

    Reference: Dodge et al., "Show your work", EMNLP 2019, arXiv 1909.03004.
    """
    first = [runs[0] for runs in by_settings(study.trials).values()]
    default = float(study.default.get(LR, 0.0))
    grid = [run for run in first if _on_grid(float(run.settings.get(LR, 0)), default)]
    drawn: Sequence[Measured] = grid if len(grid) >= FEWEST else first
    values = sorted(outcome(run, objective, decide) for run in drawn)
    counts = range(1, len(values) + 1)
    return [(k, in_its_sign(_expected(values, k), objective, decide)) for k in counts]


def _expected(values: Sequence[float], k: int) -> float:
    m = len(values)
    ways = ((x, comb(m - i, k - 1)) for i, x in enumerate(values, 1))
    return sum(x * number for x, number in ways if number) / comb(m, k)


def _on_grid(lr: float, default: float) -> bool:
    if lr <= 0 or default <= 0:
        return False
    halves = 2 * log10(lr / default)
    return isfinite(halves) and abs(halves - round(halves)) < 0.01  # lrs have three digits


WIDEST = 4.0  # the τ up to which AlgoPerf integrates


def profile(comparison: Comparison) -> dict[str, list[tuple[float, float]]]:
    """The performance profile of each optimizer (Dolan and Moré, 2002), tuned.

    ρ(τ) is the share of tasks on which its cost to the target, the median over seeds, is at most τ
    times the least of all. A task that it misses counts as ∞, for each τ; so does one that nobody
    reaches.

    Returns:
        By name the steps of ρ: pairs of τ, from 1 to 4, and ρ from there on.

    Reference: Dolan and Moré, "Benchmarking optimization software with performance profiles",
    Mathematical Programming 91 (2002), arXiv cs/0102001; Dahl et al., "Benchmarking neural network
    training algorithms", 2023, arXiv 2306.07179, for τ = 4.
    """
    ratios = _ratios(comparison)
    found: dict[str, list[tuple[float, float]]] = {}
    for name, mine in ratios.items():
        steps = sorted({1.0, WIDEST, *(r for r in mine if r <= WIDEST)})
        found[name] = [(tau, sum(r <= tau for r in mine) / len(mine)) for tau in steps]
    return found


def profile_score(comparison: Comparison) -> dict[str, float]:
    """The mean of ρ over τ from 1 to 4: 1, if always the best; 0, if never within four times."""
    ratios = _ratios(comparison)
    return {
        name: sum(max(0.0, WIDEST - r) for r in mine) / (WIDEST - 1) / len(mine)
        for name, mine in ratios.items()
    }


def best_of_defaults(contest: Contest, decide: str) -> tuple[str, tuple[Measured, ...]] | None:
    """The optimizer that is best with its default settings, and its runs; None without any.

    To try some optimizers as they come is about as good as to tune one (Schmidt et al., 2021), so
    that a comparison owes its reader this figure.
    """
    runs = {study.optimizer: study.untuned for study in contest.studies if study.untuned}
    if not runs:
        return None
    name = min(runs, key=lambda name: rank(runs[name], contest.objective, decide, 1.0)[:4])
    return name, runs[name]


def _ratios(comparison: Comparison) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for contest in comparison.contests:
        costs = {
            study.optimizer: median_interval([run.cost_to_target for run in study.tuned]).value
            if study.tuned
            else inf
            for study in contest.studies
        }
        least = min(costs.values(), default=inf)
        for name, cost in costs.items():
            found.setdefault(name, []).append(cost / least if isfinite(cost) else inf)
    return found
