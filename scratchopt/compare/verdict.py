"""Who is best on a task, if that can be said at all; and why it can't, if not."""

from __future__ import annotations

from dataclasses import dataclass

from scratchopt.compare.formatting import count, number, p_is
from scratchopt.compare.ranking import Pair, Standing, standing
from scratchopt.compare.runs import Contest
from scratchopt.compare.statistics import ALPHA, TEST, mean_interval
from scratchopt.compare.verdict_checks import REFUSALS


@dataclass(frozen=True)
class Verdict:
    """What can be said of a contest.

    Args:
        winner: who is better than every other; None, if a reason forbids to name one.
        leader: who would be named, if anyone; None, where nobody has runs.
        statement: the same as a sentence, with the figures.
        reasons: against a winner, one sentence each; none, if there is one.
        pairs: all of them, in the order of the studies.
        test: its name, and the correction's.
        alpha: the share of contests without a difference in which a winner may be named.
    """

    winner: str | None
    leader: str | None
    statement: str
    reasons: tuple[str, ...]
    pairs: tuple[Pair, ...]
    test: str = TEST
    alpha: float = ALPHA


def verdict(contest: Contest, decide: str) -> Verdict:
    """Names a winner, if one beats every other and nothing speaks against it.

    It must be better than each of the others by an exact test, α = 0.05 for all pairs together.
    Even then none is named while one of these holds, each of which is said: fewer than three seeds;
    intervals that do not lie apart, the leader's on the better side; evaluations of unequal
    batches, or unequally many; a best lr, of whichever optimizer, on the edge of what was tried; an
    optimizer that is worse than one it includes, and so was not tuned well (Choi et al., 2019);
    runs of all seeds that are the same; a target that nobody reached; errors, and a best one that
    diverges.

    Args:
        contest: with the tuned runs of each optimizer.
        decide: cost or metric, as in `scratchopt.compare.trials`.

    Reference: Choi et al., "On empirical comparisons of optimizers for deep learning", 2019, arXiv
    1910.05446.
    """
    found = standing(contest, decide)
    reasons = tuple(reason for refusal in REFUSALS for reason in refusal(found))
    winner = None if reasons else found.best
    return Verdict(winner, found.leader, _statement(found, winner), reasons, found.pairs)


def _statement(found: Standing, winner: str | None) -> str:
    if winner is None:
        return f"No significant winner on {found.contest.task}."
    digits = count if found.decide == "cost" else number
    figures = {name: digits(middle.value) for name, middle in found.middles.items()}
    others = ", ".join(
        f"{other} {figures[other]} ({p_is(found.pair(winner, other).corrected)})"
        for other in figures
        if other != winner
    )
    what = (
        "gradient evaluations to the target, the median"
        if found.decide == "cost"
        else f"{found.contest.objective.metric} at the end, the mean"
    )
    n = min(map(len, found.values.values()))
    return (
        f"{winner} is the best on {found.contest.task}: {figures[winner]} {what} of {n} seeds; "
        f"{others}.{_yet(found, winner)}"
    )


def _yet(found: Standing, winner: str) -> str:
    """Who is ahead of the first at the target when the runs end, if anyone."""
    if found.decide != "cost":
        return ""
    objective = found.contest.objective
    ends = {
        study.optimizer: mean_interval([run.final(objective) for run in study.tuned])
        for study in found.contest.studies
        if study.tuned
    }
    mine = ends[winner]
    ahead = [
        f"{name} ({number(end.value)})"
        for name, end in ends.items()
        if end.better(mine, objective.mode == "max")
    ]
    if not ahead:
        return ""
    return (
        f" Yet at the end {' and '.join(ahead)} {'has' if len(ahead) == 1 else 'have'} the better "
        f"{objective.metric}, {winner} {number(mine.value)}."
    )
