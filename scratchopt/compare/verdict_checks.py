"""What forbids to name a winner. Each function yields sentences, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from statistics import fmean

from scratchopt.compare.formatting import count, number, p_is, probability
from scratchopt.compare.nesting import DECISIVE, includes
from scratchopt.compare.ranking import Standing
from scratchopt.compare.runs import Measured
from scratchopt.compare.statistics import ALPHA, Interval, least_p
from scratchopt.compare.trials import LR

SLACK = 0.01  # by which the evaluations of runs may differ whose metrics are compared


def unequal_batches(standing: Standing) -> Iterator[str]:
    """An evaluation of one is of more examples than that of another."""
    runs = _runs(standing)
    batches = {name: run.batch for name, mine in runs.items() for run in mine[:1] if run.batch}
    if len(set(batches.values())) > 1:
        each = ", ".join(f"{batch} for {name}" for name, batch in batches.items())
        yield f"An evaluation is of a batch of {each}: give all the same task.batch_size."


def early_misses(standing: Standing) -> Iterator[str]:
    """Runs that missed the target within fewer evaluations than the leader's took to reach it.

    They have not shown that they need more.
    """
    if standing.decide != "cost":
        return
    leader, runs = standing.leader, _runs(standing)
    latest = max((r.cost_to_target for r in runs.get(leader, ()) if r.to_target), default=0.0)
    for name in standing.values:
        missed = [r.cost for r in runs[name] if r.to_target is None and r.status == "finished"]
        if name != leader and missed and min(missed) < latest:
            yield (
                f"Runs of {name} that missed the target ended after {count(min(missed))} "
                f"evaluations, before {leader} reached it ({count(latest)}): a greater max_steps."
            )


def costlier_metrics(standing: Standing) -> Iterator[str]:
    """The leader came to its metric at a greater cost."""
    if standing.decide != "metric" or standing.leader is None:
        return
    runs = _runs(standing)
    ours = fmean(run.cost for run in runs[standing.leader])
    for name in standing.values:
        theirs = fmean(run.cost for run in runs[name])
        if ours > (1 + SLACK) * theirs and not any(run.failed for run in runs[name]):
            yield (
                f"{standing.leader} came to its metric in {count(ours)} evaluations, {name} in "
                f"{count(theirs)}: decide=cost takes that into account."
            )


def _runs(standing: Standing) -> dict[str | None, Sequence[Measured]]:
    return {study.optimizer: study.tuned for study in standing.contest.studies}


FEWEST = 3  # seeds of which anything is said
SAID = 4  # names in one sentence


def nothing_to_compare(standing: Standing) -> Iterator[str]:
    """One optimizer alone, or one of which no trial came to anything."""
    if len(standing.contest.studies) < 2:
        yield "There is one optimizer alone."
    for study in standing.contest.studies:
        if study.chosen is None:
            yield (
                f"No trial of {study.optimizer} came to anything, so it was not compared: "
                "a larger budget, or a default lr nearer to what works."
            )
        elif not study.tuned:
            yield f"{study.optimizer} has no runs at its chosen settings."


def few_seeds(standing: Standing) -> Iterator[str]:
    """Fewer than three, or so few that the test cannot come below α."""
    least = min(map(len, standing.values.values()), default=0)
    pairs = max(1, len(standing.pairs))
    if not standing.pairs or standing.alike:  # of which more are no remedy
        return
    some = [name for name, values in standing.values.items() if len(values) == least]
    whose = "" if len(some) == len(standing.values) else f" of {_named(some)}"
    if least < FEWEST:
        yield (
            f"{_seeds(least)}{whose}: fewer than {FEWEST} say nothing of what another would bring."
        )
    if least_p(least, least) * pairs > ALPHA:
        enough = next(n for n in range(1, 100) if least_p(n, n) * pairs <= ALPHA)
        yield (
            f"{_seeds(least)}{whose}: the least p that they can have is "
            f"{probability(least_p(least, least))}, times {pairs} for the pairs: "
            f"seeds={enough} is the least that can tell."
        )


def not_significant(standing: Standing) -> Iterator[str]:
    """The leader does not beat all others."""
    leader = standing.leader
    if leader is None or standing.best is not None:
        return
    mine = [p for p in standing.pairs if leader in (p.first, p.second) and p.better != leader]
    if mine:
        others = _named(
            f"{pair.other(leader)} ({_figure(standing, pair.other(leader))}; "
            f"{p_is(pair.corrected)})"
            for pair in mine
        )
        yield (f"{leader} ({_figure(standing, leader)}) is not significantly better than {others}.")


def overlap(standing: Standing) -> Iterator[str]:
    """The leader's interval does not lie wholly on the better side of another's.

    It has a point in common with it or lies on the other side, as a mean may which a few runs have
    drawn there; or one of the two is not known.

    Of costs and of metrics alike it is the interval of the mean. Where one of the two has none,
    because a run missed the target or because all have the same cost, it is that of the median:
    exact but wide, with a spread of 5 % it would let pass 61 % of the speed-ups of 10 % in ten
    seeds, where the means' lets pass 95 %.
    """
    leader, what = standing.leader, "costs to the target"
    if standing.decide == "metric":
        what = "metrics at the end"
    unknown: list[str] = []
    crossing: list[str] = []
    for name in standing.values:
        if leader is None or name == leader or {leader, name} & standing.alike:
            continue
        bare = any(standing.means[x].low is None for x in (leader, name))
        kind, intervals = ("median", standing.medians) if bare else ("mean", standing.means)
        one, other = intervals[leader], intervals[name]
        if one.low is None or other.low is None:
            unknown.append(name)
        elif not one.better(other, standing.greater):
            way = "lie the other way round than the runs rank"
            how = way if other.better(one, standing.greater) else "overlap"
            crossing.append(
                f"The 95 % intervals of the {kind} {what} of {leader} and {name} {how}: "
                f"{_interval(standing, one)} and {_interval(standing, other)}."
            )
    if unknown:
        yield (
            f"No 95 % intervals of the {what} of {leader} and {_named(unknown)} are known: where a "
            "run missed or all came to the same it is the median's, which six seeds have."
        )
    yield from crossing[:SAID]
    if len(crossing) > SAID:
        yield f"So do {leader}'s and those of {len(crossing) - SAID} others."


def edge(standing: Standing) -> Iterator[str]:
    """The best value of what was searched lies at the end of what was tried."""
    for study in standing.contest.studies:
        for key in study.edges:
            if study.chosen is not None:
                value = study.chosen[key]
                remedy = "a larger budget" if key == LR else "values beyond it in tune="
                yield (
                    f"{study.optimizer} is undertuned: its best {key}={value} is on the edge of "
                    f"what was tried; {remedy}."
                )


def inclusion(standing: Standing) -> Iterator[str]:
    """An optimizer is significantly worse than one that it includes."""
    for pair in standing.pairs:
        if pair.better is None:
            continue
        worse = pair.other(pair.better)
        if includes(worse, pair.better):
            searched = next(s.default for s in standing.contest.studies if s.optimizer == worse)
            keys = [key for key in DECISIVE[worse] if key not in searched]
            also = f", and a search of {' and '.join(keys)} too" if keys else ""
            yield (
                f"{worse} is undertuned: it includes {pair.better}, yet is worse "
                f"({_figure(standing, worse)} to {_figure(standing, pair.better)}, "
                f"{p_is(pair.corrected)}); a larger budget{also}."
            )


def no_spread(standing: Standing) -> Iterator[str]:
    """Runs of several seeds that are the same run."""
    for name in standing.values:
        if name in standing.alike:
            yield (
                f"All {len(standing.values[name])} runs of {name} are the same, whatever the "
                "seed: the task has no chance in it, and they count as one."
            )


def no_target(standing: Standing) -> Iterator[str]:
    """Costs decide, and no run has any."""
    if standing.decide != "cost" or not standing.values:
        return
    if not any(isfinite(x) for values in standing.values.values() for x in values):
        target = standing.contest.objective.target
        what = "the end of convergence" if target is None else f"the target {number(target)}"
        yield f"No run reached {what}: longer runs, an easier target, or decide=metric."


def failures(standing: Standing) -> Iterator[str]:
    """Errors of any; divergence of the leader."""
    for study in standing.contest.studies:
        for status, runs in (("failed", "ended with an error"), ("diverged", "diverged")):
            number_of = sum(run.status == status for run in study.tuned)
            if number_of and (status == "failed" or study.optimizer == standing.leader):
                yield f"{number_of} of {len(study.tuned)} runs of {study.optimizer} {runs}."


REFUSALS = (
    nothing_to_compare,
    failures,
    no_target,
    unequal_batches,
    early_misses,
    costlier_metrics,
    no_spread,
    few_seeds,
    not_significant,
    overlap,
    edge,
    inclusion,
)


def _named(words: Iterable[str]) -> str:
    """Some, and how many more."""
    first, rest = list(words), 0
    if len(first) > SAID + 1:
        first, rest = first[:SAID], len(first) - SAID
    return ", ".join(first) + (f" and {rest} others" if rest else "")


def _seeds(n: int) -> str:
    return "One seed" if n == 1 else f"{n} seeds"


def _figure(standing: Standing, name: str) -> str:
    value = standing.middles[name].value
    return count(value) if standing.decide == "cost" else number(value)


def _interval(standing: Standing, interval: Interval) -> str:
    digits = count if standing.decide == "cost" else number
    return f"[{digits(interval.low)}, {digits(interval.high)}]"
