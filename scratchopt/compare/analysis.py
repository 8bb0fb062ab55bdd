"""The analysis of a comparison: how hard an optimizer is to tune, how it does over all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb, inf, isfinite, log, log10
from statistics import fmean, median

from scratchopt.compare.comparison import Comparison, Contest, Study
from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.statistics import median_interval
from scratchopt.compare.trials import (
    LR,
    group_by_settings,
    judge,
    log_if_cost,
    make_sort_key,
    restore_sign,
)
from scratchopt.objective import Objective

GOOD_COST_FACTOR = 1.25  # times the least cost that is still good
GOOD_METRIC_SHARE = 0.01  # of the best metric by which a good one may be worse
FEWEST = 3  # points of the grid, without which all settings stand for it
WIDEST = 4.0  # the τ up to which AlgoPerf integrates


@dataclass(frozen=True)
class Sensitivity:
    """The sensitivity of an optimizer to its lr.

    Args:
        curve: pairs of an lr, rising, and the outcome there: the cost to the target, or the metric
            at the end; the median over seeds, at the best of the other settings.
        divergence_rate: the share of trials that diverged.
        basin_width: decades of lr, around the best, whose outcome is good; None, if none is.
        basin: the least and the greatest lr of these.
        open: true where the basin reaches the least or the greatest lr tried, and so may be wider.
    """

    curve: tuple[tuple[float, float], ...]
    divergence_rate: float
    basin_width: float | None
    basin: tuple[float, float] | None
    open: bool


def measure_sensitivity(study: Study, objective: Objective, decide: str) -> Sensitivity | None:
    """Measures by the trials how much the lr matters; None, if there are none with an lr > 0.

    Good is what costs at most 1.25 times the least, or a metric that is worse than the best by at
    most 1 % of it. The basin is the stretch around the best lr where the curve is good. Between two
    lrs the curve is a straight line, over the logarithm of the lr; a cost enters by its logarithm.
    Next to an lr without an outcome, where runs diverged, missed the target or were stopped, the
    basin ends at the last good lr that was tried.
    """
    trials = [run for run in study.trials if run.settings.get(LR, 0) > 0]
    if not trials:
        return None
    lost = fmean(run.result.status == "diverged" for run in trials)
    best = _find_best_at_each_lr(trials, objective, decide)
    curve = tuple((lr, restore_sign(best[lr], objective, decide)) for lr in sorted(best))
    if not any(map(isfinite, best.values())):
        return Sensitivity(curve, lost, None, None, False)
    levels = [(log10(lr), log_if_cost(best[lr], decide)) for lr in sorted(best)]
    i = min(range(len(levels)), key=lambda i: levels[i][1])
    least = levels[i][1]
    allowed = least + (
        log(GOOD_COST_FACTOR) if decide == "cost" else GOOD_METRIC_SHARE * abs(least)
    )
    low, high = _find_end(levels[i::-1], allowed), _find_end(levels[i:], allowed)
    reaches = low == levels[0][0] or high == levels[-1][0]
    return Sensitivity(curve, lost, high - low, (10**low, 10**high), reaches)


def _find_best_at_each_lr(
    trials: Sequence[ScoredRun], objective: Objective, decide: str
) -> Mapping[float, float]:
    """Finds by lr the best outcome, of the medians over seeds at the other settings."""
    found: dict[float, float] = {}
    for runs in group_by_settings(trials).values():
        lr = float(runs[0].settings[LR])
        middle = median(judge(run, objective, decide) for run in runs)
        found[lr] = min(found.get(lr, inf), middle)
    return found


def _find_end(levels: Sequence[tuple[float, float]], allowed: float) -> float:
    """Finds where the curve, from its first point to its last, leaves what is allowed."""
    for (x, y), (further, above) in pairwise(levels):
        if above > allowed:
            return x + (further - x) * (allowed - y) / (above - y) if isfinite(above) else x
    return levels[-1][0]


def expect_best_of_k(study: Study, objective: Objective, decide: str) -> list[tuple[int, float]]:
    """Computes the mean best outcome over all choices of k of the settings, for k = 1, 2, ….

    Dodge et al. draw their trials at random, with replacement when they estimate. A grid is no such
    sample: its points are distinct, so k of them are drawn without replacement, and the best of all
    is what k = all brings. They are drawn from the points half a decade apart, extensions included,
    each with its first seed. Those of the refinement lie where the others had shown the best to
    be, and would flatter small k. Where there are not three such points, as where a sampler drew,
    they are drawn from all settings.

    With outcomes x₁ ≤ … ≤ xₘ, less being better, E = Σᵢ xᵢ·C(m − i, k − 1)/C(m, k).

    Returns:
        Pairs of k and the cost, or the metric: ∞, or its worst, for as long as k trials may all
        come to nothing. A stopped trial counts with the cost at which it was stopped, so that up to
        k = `count_inexact` the true cost is greater.

    Reference: Dodge et al., "Show your work", EMNLP 2019, arXiv 1909.03004.
    """
    values = sorted(
        run.least_cost if decide == "cost" and run.stopped else judge(run, objective, decide)
        for run in _list_drawn(study)
    )
    counts = range(1, len(values) + 1)
    return [(k, restore_sign(_average_best(values, k), objective, decide)) for k in counts]


def count_inexact(study: Study) -> int:
    """Counts the k of which the cost of the best of k trials is not exact.

    All k of them may have been stopped, or have come to nothing while another was stopped.
    """
    drawn = _list_drawn(study)
    lost = sum(run.to_target is None for run in drawn)
    return lost if any(run.stopped for run in drawn) else 0


def _list_drawn(study: Study) -> Sequence[ScoredRun]:
    """Lists the trials of which the best of k are drawn."""
    first = [runs[0] for runs in group_by_settings(study.trials).values()]
    default = float(study.default.get(LR, 0.0))
    grid = [run for run in first if _is_on_grid(float(run.settings.get(LR, 0)), default)]
    return grid if len(grid) >= FEWEST else first


def _average_best(values: Sequence[float], k: int) -> float:
    m = len(values)
    ways = ((x, comb(m - i, k - 1)) for i, x in enumerate(values, 1))
    return sum(x * number for x, number in ways if number) / comb(m, k)


def _is_on_grid(lr: float, default: float) -> bool:
    if lr <= 0 or default <= 0:
        return False
    halves = 2 * log10(lr / default)
    return isfinite(halves) and abs(halves - round(halves)) < 0.01  # lrs have three digits


@dataclass(frozen=True)
class Profile:
    """The performance profile of an optimizer over several tasks (Dolan and Moré, 2002).

    ρ(τ) is the share of tasks on which its cost to the target, the median over seeds, is at most τ
    times the least of all. A task that it misses counts as ∞, for each τ; so does one that nobody
    reaches.

    Args:
        steps: of ρ, as pairs of τ, from 1 to 4, and ρ from there on.
        score: the mean of ρ over τ from 1 to 4: 1, if always the best; 0, if never within four
            times.

    Reference: Dolan and Moré, "Benchmarking optimization software with performance profiles",
    Mathematical Programming 91 (2002), arXiv cs/0102001; Dahl et al., "Benchmarking neural network
    training algorithms", 2023, arXiv 2306.07179, for τ = 4.
    """

    steps: Sequence[tuple[float, float]]
    score: float


def compute_profiles(comparison: Comparison) -> dict[str, Profile]:
    """Computes the performance profile of each optimizer, tuned, by its name."""
    return {name: _make_profile(mine) for name, mine in _divide_by_least(comparison).items()}


def find_best_default(contest: Contest, decide: str) -> str | None:
    """Finds the optimizer that is best with its default settings; None, if that is not known.

    To try some optimizers as they come is about as good as to tune one (Schmidt et al., 2021), so
    that a comparison owes its reader this figure. It can't say it where another one's runs were
    stopped before they had taken as long.
    """
    runs = {study.optimizer: study.untuned for study in contest.studies if study.untuned}
    keys = {
        name: make_sort_key(mine, contest.objective, decide, 1.0)[:4] for name, mine in runs.items()
    }
    best = min(keys, key=lambda name: keys[name], default=None)
    if best is not None and decide == "cost":
        stopped = [run.more_than for mine in runs.values() for run in mine if run.stopped]
        if stopped and min(stopped) < median(run.cost_to_target for run in runs[best]):
            return None
    return best


def _make_profile(ratios: Sequence[float]) -> Profile:
    taus = sorted({1.0, WIDEST, *(r for r in ratios if r <= WIDEST)})
    steps = [(tau, sum(r <= tau for r in ratios) / len(ratios)) for tau in taus]
    score = sum(max(0.0, WIDEST - r) for r in ratios) / (WIDEST - 1) / len(ratios)
    return Profile(steps, score)


def _divide_by_least(comparison: Comparison) -> dict[str, list[float]]:
    """The costs of each optimizer on the tasks, over the least of any."""
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
