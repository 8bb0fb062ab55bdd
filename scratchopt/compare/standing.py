"""The tuned runs of a contest as numbers: each optimizer's, and each pair's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, nan

from scratchopt.compare.margin import handicapped_p, tuned, wins
from scratchopt.compare.runs import Contest, Study
from scratchopt.compare.statistics import ALPHA, Interval, holm, mean_interval, median_interval
from scratchopt.compare.trials import in_its_sign


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
