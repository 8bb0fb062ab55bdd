"""What forbids to name a winner because the costs of two are not of one kind. As in refusals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from scratchopt.compare.digits import count
from scratchopt.compare.ranking import Standing
from scratchopt.compare.runs import Measured

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
