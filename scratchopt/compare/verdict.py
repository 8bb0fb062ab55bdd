"""The verdict on a task: who is best, if that can be said at all; and why it can't, if not."""

from __future__ import annotations

from dataclasses import dataclass

from scratchopt.compare.comparison import Contest
from scratchopt.compare.formatting import format_count, format_number, format_p_clause
from scratchopt.compare.ranking import Pair, Ranking, rank_optimizers
from scratchopt.compare.statistics import ALPHA, TEST, mean_interval
from scratchopt.compare.verdict_checks import CHECKS


@dataclass(frozen=True)
class Verdict:
    """A winner of a contest, or the reasons why there is none.

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


def reach_verdict(contest: Contest, decide: str) -> Verdict:
    """Names a winner, if one beats every other and nothing speaks against it.

    It must be better than each of the others by an exact test, α = 0.05 for all pairs together.
    Even then none is named while one of these holds, each of which is said: fewer than three seeds;
    a 95 % interval of the ratio of the means, or of their difference, by which both may be equal;
    evaluations of unequal batches, or unequally many; a best lr, of whichever optimizer, on the
    edge of what was tried; an optimizer that is worse than one it includes, or than its own default
    settings, and so was not tuned well (Choi et al., 2019); runs of all seeds that are the same; a
    target that nobody reached; errors, and a best one that diverges.

    Args:
        contest: with the tuned runs of each optimizer.
        decide: cost or metric, as in `scratchopt.compare.trials`.

    Reference: Choi et al., "On empirical comparisons of optimizers for deep learning", 2019, arXiv
    1910.05446.
    """
    ranking = rank_optimizers(contest, decide)
    reasons = tuple(reason for check in CHECKS for reason in check(ranking))
    winner = None if reasons else ranking.best
    return Verdict(winner, ranking.leader, _state(ranking, winner), reasons, ranking.pairs)


def _state(ranking: Ranking, winner: str | None) -> str:
    """Puts the verdict into a sentence."""
    if winner is None:
        return f"No significant winner on {ranking.contest.task}."
    format_one = format_count if ranking.decide == "cost" else format_number
    figures = {name: format_one(found.value) for name, found in ranking.estimates.items()}
    others = ", ".join(
        f"{other} {figures[other]} ({format_p_clause(ranking.pair(winner, other).corrected)})"
        for other in figures
        if other != winner
    )
    what = (
        "gradient evaluations to the target, the median"
        if ranking.decide == "cost"
        else f"{ranking.contest.objective.metric} at the end, the mean"
    )
    n = min(map(len, ranking.values.values()))
    return (
        f"{winner} is the best on {ranking.contest.task}: {figures[winner]} {what} of {n} seeds; "
        f"{others}.{_state_lead_at_end(ranking, winner)}"
    )


def _state_lead_at_end(ranking: Ranking, winner: str) -> str:
    """Says who is ahead when the runs end of the first one at the target, if anyone is."""
    if ranking.decide != "cost":
        return ""
    objective = ranking.contest.objective
    tuned = [run for study in ranking.contest.studies for run in study.tuned]
    if not any(run.to_target and run.to_target.cost < run.readings[-1].cost for run in tuned):
        return ""  # they ended there
    ends = {
        study.optimizer: mean_interval([run.final(objective) for run in study.tuned])
        for study in ranking.contest.studies
        if study.tuned
    }
    mine = ends[winner]
    ahead = [
        f"{name} ({format_number(end.value)})"
        for name, end in ends.items()
        if end.is_better(mine, objective.mode == "max")
    ]
    if not ahead:
        return ""
    return (
        f" Yet at the end {' and '.join(ahead)} {'has' if len(ahead) == 1 else 'have'} the better "
        f"{objective.metric}, {winner} {format_number(mine.value)}."
    )
