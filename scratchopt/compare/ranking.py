"""A ranking of the optimizers of a contest by their tuned runs, with a test of every pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, inf, isfinite, nan, sqrt
from statistics import fmean, median, variance

from scratchopt.compare.runs import Contest, Objective, ScoredRun, Study
from scratchopt.compare.statistics import (
    ALPHA,
    Interval,
    holm,
    mann_whitney,
    mean_interval,
    median_interval,
)
from scratchopt.compare.trials import Trial, group_by_settings, judge, log_if_cost, restore_sign


@dataclass(frozen=True)
class Pair:
    """A pair of optimizers, their tuned runs held against each other.

    Args:
        first: name of the one.
        second: name of the other.
        ratio: of the medians of what decides, the first's to the second's; NaN where it says
            nothing, as of two that are ∞.
        p: of the test.
        corrected: p after the correction for all pairs of the contest.
        better: the one whose runs rank better, if `corrected` is at most α; else None.
    """

    first: str
    second: str
    ratio: float
    p: float
    corrected: float
    better: str | None

    def other(self, name: str) -> str:
        """The one of the two that is not named so."""
        return self.second if name == self.first else self.first


@dataclass(frozen=True)
class Ranking:
    """The optimizers of a contest, and what each pair of them has shown.

    Args:
        contest: that was ranked.
        decide: cost or metric.
        values: of each optimizer with runs, what they are judged by; less is better, ∞ is a miss.
        medians: of each of these, with its interval; of metrics in their own sign.
        means: the same; of a cost with misses it is ∞.
        pairs: all pairs of these.
        deterministic: the optimizers whose runs of several seeds are one and the same run; of them
            no p is taken.
    """

    contest: Contest
    decide: str
    values: Mapping[str, Sequence[float]]
    medians: Mapping[str, Interval]
    means: Mapping[str, Interval]
    pairs: tuple[Pair, ...]
    deterministic: frozenset[str] = frozenset()

    @property
    def estimates(self) -> Mapping[str, Interval]:
        """The figures for the reader: the costs' medians, or the metrics' means."""
        return self.medians if self.decide == "cost" else self.means

    @property
    def greater_is_better(self) -> bool:
        """Tells whether a greater one of these is the better, as of an accuracy."""
        return self.decide == "metric" and self.contest.objective.mode == "max"

    @property
    def leader(self) -> str | None:
        """The one that beats most of the others; of several, the one of the least median."""
        if not self.values:
            return None
        beaten = {name: sum(pair.better == name for pair in self.pairs) for name in self.values}
        return min(self.values, key=lambda name: (-beaten[name], _median(self.values[name])))

    @property
    def best(self) -> str | None:
        """The one that beats every other."""
        name = self.leader
        mine = [pair for pair in self.pairs if name in (pair.first, pair.second)]
        return name if mine and all(pair.better == name for pair in mine) else None

    def pair(self, one: str, other: str) -> Pair:
        """The pair of two names, in whichever order."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {one, other})


def rank_optimizers(contest: Contest, decide: str) -> Ranking:
    """Ranks the optimizers of a contest by their tuned runs.

    Args:
        contest: with the tuned runs of each.
        decide: cost or metric.
    """
    objective = contest.objective
    tuned = {
        study.optimizer: judge_tuned_runs(study, objective, decide)
        for study in contest.studies
        if study.tuned
    }
    values = {name: mine.values for name, mine in tuned.items()}
    signed = {
        name: [restore_sign(x, objective, decide) for x in mine] for name, mine in values.items()
    }
    one_run = frozenset(study.optimizer for study in contest.studies if _is_one_run(study))
    names = list(combinations(values, 2))
    ps = [
        1.0 if {a, b} & one_run else p_beyond_margin(tuned[a], tuned[b], decide) for a, b in names
    ]
    pairs: list[Pair] = []
    for (a, b), p, corrected in zip(names, ps, holm(ps), strict=True):
        better = a if cliffs_delta(values[a], values[b]) > 0 else b
        ratio = _divide_medians(signed[a], signed[b])
        pairs.append(Pair(a, b, ratio, p, corrected, better if corrected <= ALPHA else None))
    return Ranking(
        contest,
        decide,
        values,
        medians={name: median_interval(mine) for name, mine in signed.items()},
        means={name: mean_interval(mine) for name, mine in signed.items()},
        pairs=tuple(pairs),
        deterministic=one_run,
    )


@dataclass(frozen=True)
class TunedRuns:
    """An optimizer's runs as numbers, and what its tuning knows of their settings.

    Args:
        values: what the runs are judged by; less is better, ∞ is a miss.
        seeds: k, the trials that the chosen settings had; ∞ without a tuning.
        runner_up: the best mean of the trials at other settings, of costs the geometric one; where
            the chosen ones had further seeds, of those that had too; ∞, if there are none.
        resolution: the cost between the reading at which the target was seen and the one before,
            the median over runs; 0, if the metric decides.
    """

    values: Sequence[float]
    seeds: float = inf
    runner_up: float = inf
    resolution: float = 0.0


def judge_tuned_runs(study: Study, objective: Objective, decide: str) -> TunedRuns:
    """Judges the tuned runs of an optimizer, and its trials, which say how it was tuned."""
    trials = {
        trial: [judge(run, objective, decide) for run in runs]
        for trial, runs in group_by_settings(study.trials).items()
    }
    values = [judge(run, objective, decide) for run in study.tuned]
    hits = [run for run in study.tuned if run.to_target]
    chosen = trials.pop(Trial.from_settings(study.chosen), []) if study.chosen else []
    resolution = median(map(_measure_resolution, hits)) if decide == "cost" and hits else 0.0
    if not chosen:
        return TunedRuns(values, resolution=resolution)
    others = [_average(x, decide) for x in trials.values() if len(x) >= min(2, len(chosen))]
    return TunedRuns(values, len(chosen), min(others, default=inf), resolution)


def p_beyond_margin(a: TunedRuns, b: TunedRuns, decide: str) -> float:
    """The p of the test beyond the margin that two optimizers alike would part by in their tuning.

    The settings of each were chosen by the mean of k seeds, at best, and so by chance where they
    differ by less than its standard error, s/√k, s the spread of runs. The loser may have another
    setting that did better in its trials than the chosen one does in the end. And costs to the
    target are known to one validation: settings that all runs need 33 or 34 of them for are told
    apart by any test. So the better one's runs are made worse by the greatest of the three before
    they are tested, the first two on a logarithmic scale for costs; if they are not the better ones
    then, p is 1. Two names for one Adam, tuned each for itself, were told apart in 9 % of 300
    comparisons without a margin, and in 5 % of 400 with the first alone.

    Args:
        a: the one.
        b: the other.
        decide: cost or metric.
    """
    better, worse = (a, b) if cliffs_delta(a.values, b.values) > 0 else (b, a)
    error = _pool_spread(a.values, b.values, decide) / sqrt(min(a.seeds, b.seeds))
    margin = max(error, _measure_regret(worse, decide))
    resolution = max(a.resolution, b.resolution)
    moved = [
        max(x * exp(margin), x + resolution) if decide == "cost" else x + margin
        for x in better.values
    ]
    return mann_whitney(moved, worse.values) if cliffs_delta(moved, worse.values) > 0 else 1.0


def cliffs_delta(a: Sequence[float], b: Sequence[float]) -> float:
    """Cliff's δ (1993), less being better: how often one of a wins, less how often it loses."""
    return fmean((x < y) - (x > y) for x in a for y in b)


def _measure_regret(worse: TunedRuns, decide: str) -> float:
    """Measures how much better another setting's trials were than the runs; −∞ without another.

    Of runs some of which have missed it is the median that counts. It is ∞, if that missed too.
    """
    if not isfinite(worse.runner_up):
        return -inf
    middle = _average(worse.values, decide)
    middle = middle if isfinite(middle) else median(worse.values)
    return log_if_cost(middle, decide) - log_if_cost(worse.runner_up, decide)


def _measure_resolution(run: ScoredRun) -> float:
    """Measures the cost from the reading before the first at the target to that one."""
    before = (reading.cost for reading in run.readings if reading.cost < run.cost_to_target)
    return run.cost_to_target - max(before, default=0.0)


def _average(values: Sequence[float], decide: str) -> float:
    """The mean, of costs the geometric one; ∞, if one of them is."""
    middle = fmean(log_if_cost(x, decide) for x in values)
    return exp(middle) if decide == "cost" and isfinite(middle) else middle


def _pool_spread(a: Sequence[float], b: Sequence[float], decide: str) -> float:
    """The standard deviation within the two samples, of the logarithms if they are costs."""
    squares, degrees = 0.0, 0
    for sample in (a, b):
        finite = [log_if_cost(x, decide) for x in sample if isfinite(x)]
        if len(finite) > 1:
            squares, degrees = squares + variance(finite) * (n := len(finite) - 1), degrees + n
    return sqrt(squares / degrees) if degrees else 0.0


def _is_one_run(study: Study) -> bool:
    courses = [run.course for run in study.tuned if not run.failed]
    return len(courses) > 1 and len(set(courses)) == 1


def _median(values: Sequence[float]) -> float:
    return median_interval(values).value


def _divide_medians(first: Sequence[float], second: Sequence[float]) -> float:
    one, other = _median(first), _median(second)
    if other == 0 or not (isfinite(one) or isfinite(other)):
        return nan
    return one / other
