"""The last trials of a search: further seeds for the best settings, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import Any

from scratchopt.compare.edges import edges
from scratchopt.compare.runs import Measured
from scratchopt.compare.trial import Choice, Results, Trial, by_settings

LEAST = 8  # the budget from which on there are such trials
FINALISTS = 4  # settings

Rank = Callable[[Sequence[Measured]], Any]


def reserve(budget: int) -> int:
    """How many trials of a budget are for it: a quarter."""
    return budget // 4 if budget >= LEAST else 0


def finals(trials: Sequence[Trial], results: Results, rank: Rank, left: int) -> list[Trial]:
    """The best settings in turn, each time with the next seed.

    Args:
        trials: of the search, all with a result.
        results: what came of them.
        rank: of the runs of some settings, a key that sorts the best first.
        left: how many trials.
    """
    runs = by_settings(results[trial] for trial in trials)
    best = sorted(runs, key=lambda trial: rank(runs[trial]))[:FINALISTS]
    endless = (Trial(t.items, len(runs[t]) + more) for more in count() for t in best)
    return list(islice(endless, left))


def choice(trials: Sequence[Trial], results: Results, rank: Rank) -> Choice:
    """The best settings: of those with several seeds, if there are any, by all of them.

    Args:
        trials: of the search, the last ones included; those without a result do not count.
        results: what came of them.
        rank: of the runs of some settings, a key that sorts the best first.
    """
    runs = by_settings(results[trial] for trial in trials if trial in results)
    if all(run.failed for mine in runs.values() for run in mine):
        return Choice(None, ())
    finalists = [trial for trial in runs if len(runs[trial]) > 1] or list(runs)
    best = min(finalists, key=lambda trial: rank(runs[trial])).settings
    return Choice(best, tuple(edges(best, [trial.settings for trial in runs])))
