"""The tuned runs of a contest as numbers: each optimizer's, and each pair's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, inf, isfinite, nan, sqrt
from statistics import fmean, median, variance

from scratchopt.compare.runs import Contest, Measured, Objective, Study
from scratchopt.compare.statistics import (
    ALPHA,
    Interval,
    holm,
    mann_whitney,
    mean_interval,
    median_interval,
)
from scratchopt.compare.trials import Trial, by_settings, in_its_sign, level, outcome


@dataclass(frozen=True)
class Pair:
    """Two optimizers, their tuned runs held against each other.

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
class Standing:
    """Where the optimizers of a contest stand.

    Args:
        contest: of which this is.
        decide: cost or metric.
        values: of each optimizer with runs, what they are judged by; less is better, ∞ is a miss.
        medians: of each of these, with its interval; of metrics in their own sign.
        means: the same; of a cost with misses it is ∞.
        pairs: of these, all.
        alike: whose runs of several seeds are one and the same run; of them no p is taken.
    """

    contest: Contest
    decide: str
    values: Mapping[str, Sequence[float]]
    medians: Mapping[str, Interval]
    means: Mapping[str, Interval]
    pairs: tuple[Pair, ...]
    alike: frozenset[str] = frozenset()

    @property
    def middles(self) -> Mapping[str, Interval]:
        """What a reader is told: the costs' medians, or the metrics' means."""
        return self.medians if self.decide == "cost" else self.means

    @property
    def greater(self) -> bool:
        """Whether a greater one of these is the better."""
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
        """That of two names, in whichever order."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {one, other})


def standing(contest: Contest, decide: str) -> Standing:
    """Of the tuned runs of a contest."""
    objective = contest.objective
    known = {
        study.optimizer: tuned(study, objective, decide) for study in contest.studies if study.tuned
    }
    values = {name: mine.values for name, mine in known.items()}
    told = {
        name: [in_its_sign(x, objective, decide) for x in mine] for name, mine in values.items()
    }
    names = list(combinations(values, 2))
    alike = frozenset(study.optimizer for study in contest.studies if _is_one_run(study))
    ps = [1.0 if {a, b} & alike else handicapped_p(known[a], known[b], decide) for a, b in names]
    pairs = tuple(
        Pair(a, b, _ratio(told[a], told[b]), p, q, _better(values, a, b) if q <= ALPHA else None)
        for (a, b), p, q in zip(names, ps, holm(ps), strict=True)
    )
    means = {name: mean_interval(mine) for name, mine in told.items()}
    medians = {name: median_interval(mine) for name, mine in told.items()}
    return Standing(contest, decide, values, medians, means, pairs, alike)


def _is_one_run(study: Study) -> bool:
    courses = [run.course for run in study.tuned if not run.failed]
    return len(courses) > 1 and len(set(courses)) == 1


def _better(values: Mapping[str, Sequence[float]], a: str, b: str) -> str:
    return a if wins(values[a], values[b]) > 0 else b


def _median(values: Sequence[float]) -> float:
    return median_interval(values).value


def _ratio(first: Sequence[float], second: Sequence[float]) -> float:
    one, other = _median(first), _median(second)
    if other == 0 or not (isfinite(one) or isfinite(other)):
        return nan
    return one / other


@dataclass(frozen=True)
class Tuned:
    """An optimizer's runs, and what its tuning knows of their settings.

    Args:
        values: what the runs are judged by; less is better, ∞ is a miss.
        seeds: k, the trials that the chosen settings had; ∞ without a tuning.
        runner_up: the best mean of the trials at other settings, of costs the geometric one; where
            the chosen ones had further seeds, of those that had too; ∞, if there are none.
        grain: the cost between the reading at which the target was seen and the one before, the
            median over runs; 0, if the metric decides.
    """

    values: Sequence[float]
    seeds: float = inf
    runner_up: float = inf
    grain: float = 0.0


def tuned(study: Study, objective: Objective, decide: str) -> Tuned:
    """Of an optimizer that has runs."""
    alike = {
        trial: [outcome(run, objective, decide) for run in runs]
        for trial, runs in by_settings(study.trials).items()
    }
    values = [outcome(run, objective, decide) for run in study.tuned]
    hits = [run for run in study.tuned if run.to_target]
    mine = alike.pop(Trial.of(study.chosen), []) if study.chosen else []
    grain = median(map(_grain, hits)) if decide == "cost" and hits else 0.0
    if not mine:
        return Tuned(values, grain=grain)
    others = [_mean(x, decide) for x in alike.values() if len(x) >= min(2, len(mine))]
    return Tuned(values, len(mine), min(others, default=inf), grain)


def handicapped_p(a: Tuned, b: Tuned, decide: str) -> float:
    """Of the test beyond the margin that two optimizers alike would part by through their tuning.

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
    better, worse = (a, b) if wins(a.values, b.values) > 0 else (b, a)
    error = _spread(a.values, b.values, decide) / sqrt(min(a.seeds, b.seeds))
    margin = max(error, _regret(worse, decide))
    grain = max(a.grain, b.grain)
    moved = [
        max(x * exp(margin), x + grain) if decide == "cost" else x + margin for x in better.values
    ]
    return mann_whitney(moved, worse.values) if wins(moved, worse.values) > 0 else 1.0


def _regret(worse: Tuned, decide: str) -> float:
    """How much better another setting's trials were than the runs; −∞, if there is no other.

    Of runs some of which have missed it is the median that counts. It is ∞, if that missed too.
    """
    if not isfinite(worse.runner_up):
        return -inf
    middle = _mean(worse.values, decide)
    middle = middle if isfinite(middle) else median(worse.values)
    return level(middle, decide) - level(worse.runner_up, decide)


def _grain(run: Measured) -> float:
    """The cost of the reading at the target, less that of the one before or of none."""
    before = (point.cost for point in run.points if point.cost < run.cost_to_target)
    return run.cost_to_target - max(before, default=0.0)


def _mean(values: Sequence[float], decide: str) -> float:
    """∞, if one of them is; of costs the geometric mean."""
    middle = fmean(level(x, decide) for x in values)
    return exp(middle) if decide == "cost" and isfinite(middle) else middle


def _spread(a: Sequence[float], b: Sequence[float], decide: str) -> float:
    """The standard deviation within the two samples, of the logarithms if they are costs."""
    squares, degrees = 0.0, 0
    for sample in (a, b):
        finite = [level(x, decide) for x in sample if isfinite(x)]
        if len(finite) > 1:
            squares, degrees = squares + variance(finite) * (n := len(finite) - 1), degrees + n
    return sqrt(squares / degrees) if degrees else 0.0


def wins(a: Sequence[float], b: Sequence[float]) -> float:
    """How often one of the first is the better, less how often it is the worse; in [−1, 1]."""
    return fmean((x < y) - (x > y) for x in a for y in b)
