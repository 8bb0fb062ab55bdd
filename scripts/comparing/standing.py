"""The tuned runs of a contest as numbers: each optimizer's, and each pair's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, nan
from statistics import fmean

from scripts.comparing.intervals import Interval, mean_interval, median_interval
from scripts.comparing.measured import Contest
from scripts.comparing.ranking import outcome
from scripts.comparing.significance import ALPHA, holm, mann_whitney


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
        middles: of each of these, what a reader is told: the median of the costs with its interval,
            or the mean of the metrics.
        pairs: of these, all.
    """

    contest: Contest
    decide: str
    values: Mapping[str, Sequence[float]]
    middles: Mapping[str, Interval]
    pairs: tuple[Pair, ...]

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
    values = {
        study.optimizer: [outcome(run, objective, decide) for run in study.tuned]
        for study in contest.studies
        if study.tuned
    }
    sign = -1.0 if decide == "metric" and objective.mode == "max" else 1.0
    told = {name: [sign * x for x in mine] for name, mine in values.items()}
    middle = median_interval if decide == "cost" else mean_interval
    names = list(combinations(values, 2))
    ps = [mann_whitney(values[a], values[b]) for a, b in names]
    pairs = tuple(
        Pair(a, b, _ratio(told[a], told[b]), p, q, _better(values, a, b) if q <= ALPHA else None)
        for (a, b), p, q in zip(names, ps, holm(ps), strict=True)
    )
    middles = {name: middle(mine) for name, mine in told.items()}
    return Standing(contest, decide, values, middles, pairs)


def _better(values: Mapping[str, Sequence[float]], a: str, b: str) -> str:
    wins = fmean((x < y) - (x > y) for x in values[a] for y in values[b])
    return a if wins > 0 else b


def _median(values: Sequence[float]) -> float:
    return median_interval(values).value


def _ratio(first: Sequence[float], second: Sequence[float]) -> float:
    one, other = _median(first), _median(second)
    if other == 0 or not (isfinite(one) or isfinite(other)):
        return nan
    return one / other
