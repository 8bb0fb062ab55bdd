"""A ranking of the optimizers of a contest by their tuned runs, with a test of every pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, isfinite, nan
from operator import neg

from scratchopt.compare.comparison import Contest, Study
from scratchopt.compare.statistics import (
    ALPHA,
    Interval,
    difference_interval,
    holm,
    mean_interval,
    median_interval,
)
from scratchopt.compare.trials import log_if_cost, restore_sign
from scratchopt.compare.tuning_margin import cliffs_delta, judge_tuned_runs, p_beyond_margin
from scratchopt.objective import Objective


@dataclass(frozen=True)
class Pair:
    """A pair of optimizers, their tuned runs held against each other.

    Args:
        first: name of the one.
        second: name of the other.
        ratio: of the medians of what decides, the first's to the second's; NaN where it says
            nothing, as of two that are ∞.
        interval: of the ratio of the geometric means of costs, the first's to the second's, or of
            the first's mean metric less the second's (Welch, 1947); NaN where a run missed.
        p: of the test.
        corrected: p after the correction for all pairs of the contest.
        better: the one whose runs rank better, if `corrected` is at most α; else None.
    """

    first: str
    second: str
    ratio: float
    interval: Interval
    p: float
    corrected: float
    better: str | None

    def other(self, name: str) -> str:
        """The name of the other optimizer of the pair."""
        return self.second if name == self.first else self.first


@dataclass(frozen=True)
class Ranking:
    """The optimizers of a contest, and what each pair of them has shown.

    Args:
        contest: that was ranked.
        decide: cost or metric.
        values: of each optimizer with runs, what they are judged by; less is better, ∞ is a miss.
        medians: of each of these, with its interval; of metrics in their own sign.
        estimates: the figures for the reader: the costs' medians, or the metrics' means.
        pairs: all pairs of these.
        deterministic: the optimizers whose runs of several seeds are one and the same run; of them
            no p is taken.
    """

    contest: Contest
    decide: str
    values: Mapping[str, Sequence[float]]
    medians: Mapping[str, Interval]
    estimates: Mapping[str, Interval]
    pairs: tuple[Pair, ...]
    deterministic: frozenset[str] = frozenset()

    @property
    def greater_is_better(self) -> bool:
        """Tells whether greater estimates are better, as of an accuracy."""
        return self.decide == "metric" and self.contest.objective.mode == "max"

    @property
    def leader(self) -> str | None:
        """The optimizer that beats most others; of several, the one with the least median."""
        if not self.values:
            return None
        beaten = {name: sum(pair.better == name for pair in self.pairs) for name in self.values}
        return min(self.values, key=lambda name: (-beaten[name], _median(self.values[name])))

    @property
    def best(self) -> str | None:
        """The optimizer that beats every other; None, if there is none."""
        name = self.leader
        mine = [pair for pair in self.pairs if name in (pair.first, pair.second)]
        return name if mine and all(pair.better == name for pair in mine) else None

    def pair(self, one: str, other: str) -> Pair:
        """The pair of two optimizers, named in either order."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {one, other})

    def compare_means(self, one: str, other: str) -> Interval:
        """The interval of a pair, as if the one were its first and the other its second."""
        pair = self.pair(one, other)
        if pair.first == one:
            return pair.interval
        return pair.interval.map_falling(_invert if self.decide == "cost" else neg)


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
        interval = _compare_means(signed[a], signed[b], decide)
        shown = better if corrected <= ALPHA else None
        pairs.append(Pair(a, b, ratio, interval, p, corrected, shown))
    return Ranking(
        contest,
        decide,
        values,
        medians={name: median_interval(mine) for name, mine in signed.items()},
        estimates={name: estimate(mine, objective, decide) for name, mine in values.items()},
        pairs=tuple(pairs),
        deterministic=one_run,
    )


def estimate(values: Sequence[float], objective: Objective, decide: str) -> Interval:
    """Estimates for the reader what runs come to: the median cost, or the mean metric.

    Args:
        values: what the runs are judged by.
        objective: of their task.
        decide: cost or metric.
    """
    if decide == "cost":
        return median_interval(values)
    return mean_interval([restore_sign(x, objective, decide) for x in values])


def _compare_means(first: Sequence[float], second: Sequence[float], decide: str) -> Interval:
    """The ratio of the geometric means of costs, or the difference of the means of metrics."""
    found = difference_interval(
        *([log_if_cost(x, decide) for x in sample] for sample in (first, second))
    )
    if decide != "cost":
        return found
    low, high = (None if end is None else exp(end) for end in (found.low, found.high))
    return Interval(exp(found.value), low, high)


def _invert(x: float) -> float:
    return 1 / x


def _is_one_run(study: Study) -> bool:
    fingerprints = [run.fingerprint for run in study.tuned if not run.failed]
    return len(fingerprints) > 1 and len(set(fingerprints)) == 1


def _median(values: Sequence[float]) -> float:
    return median_interval(values).value


def _divide_medians(first: Sequence[float], second: Sequence[float]) -> float:
    one, other = _median(first), _median(second)
    if other == 0 or not (isfinite(one) or isfinite(other)):
        return nan
    return one / other
