"""The checks that a verdict must pass: each yields sentences that forbid a winner, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from statistics import fmean

from scratchopt.compare.failure_checks import check_failures, check_studies
from scratchopt.compare.formatting import format_count, format_number, format_p, format_p_clause
from scratchopt.compare.ranking import Ranking
from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.statistics import ALPHA, Interval, min_p
from scratchopt.compare.tuning_checks import (
    check_defaults,
    check_edges,
    check_nesting,
    format_estimate,
)

MIN_SEEDS = 3  # of which anything is said
MEDIAN_SEEDS = 6  # of which a median has an interval
MAX_NAMES = 4  # in one sentence
SLACK = 0.01  # by which the evaluations of runs may differ whose metrics are compared


def check_target(ranking: Ranking) -> Iterator[str]:
    """Refuses to decide by the cost of a target that no run reached."""
    if ranking.decide != "cost" or not ranking.values:
        return
    if not any(isfinite(x) for values in ranking.values.values() for x in values):
        target = ranking.contest.objective.target
        what = "the end of convergence" if target is None else f"the target {format_number(target)}"
        yield f"No run reached {what}: longer runs, an easier target, or decide=metric."


def check_batches(ranking: Ranking) -> Iterator[str]:
    """Refuses evaluations that are of more examples for one optimizer than for another."""
    runs = _runs_by_name(ranking)
    sizes = {name: mine[0].batch_size for name, mine in runs.items() if mine}
    sizes = {name: size for name, size in sizes.items() if size}
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{size} for {name}" for name, size in sizes.items())
        yield f"An evaluation is of a batch of {each}: give all the same task.batch_size."


def check_misses(ranking: Ranking) -> Iterator[str]:
    """Refuses misses within fewer evaluations than the leader's runs took to reach the target.

    They have not shown that they need more.
    """
    if ranking.decide != "cost":
        return
    leader, runs = ranking.leader, _runs_by_name(ranking)
    latest = max((r.cost_to_target for r in runs.get(leader, ()) if r.to_target), default=0.0)
    for name in ranking.values:
        ended = [run.result for run in runs[name] if run.to_target is None]
        missed = [result.cost for result in ended if result.status == "finished"]
        if name != leader and missed and min(missed) < latest:
            yield (
                f"Runs of {name} that missed the target ended after {format_count(min(missed))} "
                f"evaluations, before {leader} reached it ({format_count(latest)}): "
                "a greater max_steps."
            )


def check_costs(ranking: Ranking) -> Iterator[str]:
    """Refuses a leader by the metric whose runs cost more than another's."""
    if ranking.decide != "metric" or ranking.leader is None:
        return
    runs = _runs_by_name(ranking)
    ours = fmean(run.result.cost for run in runs[ranking.leader])
    for name in ranking.values:
        theirs = fmean(run.result.cost for run in runs[name])
        if ours > (1 + SLACK) * theirs and not any(run.failed for run in runs[name]):
            yield (
                f"{ranking.leader} came to its metric in {format_count(ours)} evaluations, {name} "
                f"in {format_count(theirs)}: decide=cost takes that into account."
            )


def check_spread(ranking: Ranking) -> Iterator[str]:
    """Refuses runs of several seeds that are one and the same run."""
    for name in ranking.values:
        if name in ranking.deterministic:
            yield (
                f"All {len(ranking.values[name])} runs of {name} are the same, whatever the "
                "seed: the task has no chance in it, and they count as one."
            )


def check_seeds(ranking: Ranking) -> Iterator[str]:
    """Refuses fewer than three seeds, and so few that the test cannot come below α."""
    least = min(map(len, ranking.values.values()), default=0)
    pairs = max(1, len(ranking.pairs))
    if not ranking.pairs or ranking.deterministic:  # of which more are no remedy
        return
    some = [name for name, values in ranking.values.items() if len(values) == least]
    whose = "" if len(some) == len(ranking.values) else f" of {_join_names(some)}"
    seeds = "One seed" if least == 1 else f"{least} seeds"
    if least < MIN_SEEDS:
        yield f"{seeds}{whose}: fewer than {MIN_SEEDS} say nothing of what another would bring."
    if min_p(least, least) * pairs > ALPHA:
        enough = next(n for n in range(1, 100) if min_p(n, n) * pairs <= ALPHA)
        times = f", times {pairs} for the pairs" if pairs > 1 else ""
        yield (
            f"{seeds}{whose}: the least p that {'it' if least == 1 else 'they'} can have is "
            f"{format_p(min_p(least, least))}{times}: seeds={enough} is the least that can tell."
        )


def check_significance(ranking: Ranking) -> Iterator[str]:
    """Refuses a leader that does not beat all others."""
    leader = ranking.leader
    if leader is None or ranking.best is not None:
        return
    mine = [p for p in ranking.pairs if leader in (p.first, p.second) and p.better != leader]
    if mine:
        others = _join_names(
            f"{pair.other(leader)} ({format_estimate(ranking, pair.other(leader))}; "
            f"{format_p_clause(pair.corrected)})"
            for pair in mine
        )
        ours = format_estimate(ranking, leader)
        yield f"{leader} ({ours}) is not significantly better than {others}."


def check_intervals(ranking: Ranking) -> Iterator[str]:
    """Refuses a leader whose mean is not shown to be better, by its 95 % interval.

    That is the interval of the ratio of the geometric means of costs, or of the difference of the
    means of metrics (Welch, 1947): it must lie wholly on the leader's side of 1, or of 0. It may
    even lie on the other, as where a few runs have drawn the mean there.

    Where there is none, because a run missed the target or because all have the same cost, the
    intervals of the medians must lie apart. They are exact but wide.
    """
    leader, cost = ranking.leader, ranking.decide == "cost"
    what = "costs to the target" if cost else "metrics at the end"
    unknown: list[str] = []
    crossing: list[str] = []
    for name in ranking.values:
        if leader is None or name == leader or {leader, name} & ranking.deterministic:
            continue
        means, medians = ranking.compare_means(leader, name), ranking.medians
        if means.low is not None and means.high is not None:
            even, kind = (1, "ratio") if cost else (0, "difference")
            ahead, behind = means.high < even, means.low > even
            if ranking.greater_is_better:
                ahead, behind = behind, ahead
            how = "lies the other way round than the runs rank" if behind else f"includes {even}"
            ends = f"[{format_number(means.low, 3)}, {format_number(means.high, 3)}]"
            if not ahead:
                pair = f"{leader}'s {'to' if cost else 'minus'} {name}'s"
                crossing.append(
                    f"The 95 % interval of the {kind} of the mean {what}, {pair}, {how}: {ends}."
                )
        elif medians[leader].low is None or medians[name].low is None:
            unknown.append(name)
        elif not medians[leader].is_better(medians[name], ranking.greater_is_better):
            crossing.append(
                f"The 95 % intervals of the median {what} of {leader} and {name} do not lie apart: "
                f"{_format_interval(ranking, medians[leader])} and "
                f"{_format_interval(ranking, medians[name])}."
            )
    if unknown:
        few = min(map(len, ranking.values.values())) < MEDIAN_SEEDS
        yield (
            f"No 95 % intervals of the {what} of {leader} and {_join_names(unknown)} are known, as "
            "a run came to none or all came to the same"
            + (f": seeds={MEDIAN_SEEDS}." if few else ".")
        )
    yield from crossing[:MAX_NAMES]
    if len(crossing) > MAX_NAMES:
        yield f"The same holds for {leader} and {len(crossing) - MAX_NAMES} others."


CHECKS = (
    check_studies,
    check_failures,
    check_target,
    check_batches,
    check_misses,
    check_costs,
    check_spread,
    check_seeds,
    check_significance,
    check_intervals,
    check_defaults,
    check_edges,
    check_nesting,
)


def _runs_by_name(ranking: Ranking) -> dict[str | None, Sequence[ScoredRun]]:
    return {study.optimizer: study.tuned for study in ranking.contest.studies}


def _join_names(words: Iterable[str]) -> str:
    """Joins the first few, and says how many more there are."""
    first, rest = list(words), 0
    if len(first) > MAX_NAMES + 1:
        first, rest = first[:MAX_NAMES], len(first) - MAX_NAMES
    return ", ".join(first) + (f" and {rest} others" if rest else "")


def _format_interval(ranking: Ranking, interval: Interval) -> str:
    format_one = format_count if ranking.decide == "cost" else format_number
    return f"[{format_one(interval.low)}, {format_one(interval.high)}]"
