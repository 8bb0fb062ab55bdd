"""The trials of a search: how they are judged, where they stop, the race, the choice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log
from statistics import fmean, median
from typing import Any

from scratchopt.compare.runs import ScoredRun
from scratchopt.objective import Objective

CRITERIA = ("cost", "metric")  # by which runs are judged
LR = "optimizer.lr"
LEAST = 8  # the budget from which on there are further seeds for the best settings
MARGIN = 1.25  # times the least cost so far, after which a trial is stopped


@dataclass(frozen=True)
class Trial:
    """A run that a search asks for, as a key of dicts.

    Args:
        items: the settings, as pairs in the keys' order; a list among the values as a tuple.
        repeat: which of the tuning seeds: 0, the first; 1, the next; …
    """

    items: tuple[tuple[str, Any], ...]
    repeat: int = 0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], repeat: int = 0) -> Trial:
        """Makes the trial of some settings."""
        pairs = ((k, tuple(v) if isinstance(v, list) else v) for k, v in settings.items())
        return cls(tuple(sorted(pairs)), repeat)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by key, such as {"optimizer.lr": 0.1}."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self.items}


Results = Mapping[Trial, ScoredRun]
# Of the runs of some settings, gives a key that sorts the best settings first.
SortKey = Callable[[Sequence[ScoredRun]], Any]


def group_by_settings(runs: Iterable[ScoredRun]) -> dict[Trial, list[ScoredRun]]:
    """Groups runs that differ in the seed alone, by the first trial of their settings."""
    found: dict[Trial, list[ScoredRun]] = {}
    for run in runs:
        found.setdefault(Trial.from_settings(run.settings), []).append(run)
    return found


@dataclass(frozen=True)
class Choice:
    """The settings that a search chose.

    Args:
        settings: the best ones; None, if no trial came to anything.
        edges: keys of those whose value is the least or the greatest tried.
    """

    settings: dict[str, Any] | None
    edges: tuple[str, ...]


def judge(run: ScoredRun, objective: Objective, decide: str) -> float:
    """Judges a run by a number, less being better; ∞, if it diverged or failed.

    Args:
        run: that has ended.
        objective: of its task.
        decide: cost, the gradient evaluations to the target, or metric, the objective's at the end
            with the sign that makes less better.
    """
    if decide not in CRITERIA:
        raise ValueError(f"decide={decide}: must be one of {', '.join(CRITERIA)}")
    if run.failed:
        return inf
    return run.cost_to_target if decide == "cost" else -objective.goodness(run.final(objective))


def restore_sign(value: float, objective: Objective, decide: str) -> float:
    """Gives what `judge` found, or a mean of it, the sign that the metric was read with."""
    return -value if decide == "metric" and objective.mode == "max" else value


def log_if_cost(value: float, decide: str) -> float:
    """Takes the logarithm of a cost, as costs differ by factors; a metric stays as it is."""
    return log(max(value, 1.0)) if decide == "cost" and isfinite(value) else value


def make_sort_key(
    runs: Sequence[ScoredRun], objective: Objective, decide: str, default: float
) -> Any:
    """Makes a key that sorts settings, the best first, by their runs, one for each seed.

    The share of runs that failed comes first, then the share of those that missed the target or
    were stopped short of it, if costs decide, then the outcome: the mean of the logarithms of the
    costs, or of the metrics. If none reached the target, or two are alike, the best reading of the
    metric decides; then, what is nearer to the default lr. Of settings of which all runs failed
    the least lr comes first: it is the one to go on from.
    """
    lr = float(runs[0].settings[LR])
    failed = fmean(run.failed for run in runs)
    if failed == 1.0:
        return failed, 0.0, 0.0, 0.0, lr, lr
    outcomes = [x for run in runs if isfinite(x := judge(run, objective, decide))]
    missed = 1 - len(outcomes) / len(runs)
    readings = median(-objective.goodness(run.best(objective)) for run in runs if not run.failed)
    middle = fmean(log_if_cost(x, decide) for x in outcomes) if outcomes else 0.0
    return failed, missed, middle, readings, abs(log(lr / default)) if lr > 0 else inf, lr


def count_reserved(budget: int) -> int:
    """Counts the trials of a budget that are for further seeds of the best settings: a quarter."""
    return budget // 4 if budget >= LEAST else 0


def find_cap(runs: Iterable[ScoredRun], margin: float) -> float:
    """Finds the cost after which a trial is stopped: so many times the least; ∞ without any."""
    return margin * min((run.cost_to_target for run in runs), default=inf)


def truncate_trials(caps: Mapping[Trial, float], results: Results) -> dict[Trial, ScoredRun]:
    """Truncates the results of trials, each at its cap; those without a result are left out.

    How far a run went depends on who was at work beside it. What is known of it up to its cap does
    not, and no more than that decides or is reported.
    """
    return {trial: results[trial].truncate(cap) for trial, cap in caps.items() if trial in results}


def race_finalists(
    runs: Collection[ScoredRun], results: Results, sort_key: SortKey, left: int
) -> list[Trial]:
    """Gives the next seed to the best settings so far, again and again: a race.

    Settings that one lucky seed has put first, as at an lr that diverges with the next one, lose
    their place to others before they are chosen.

    Args:
        runs: of all trials of the search, as far as they count.
        results: what came of the race so far.
        sort_key: of the runs of some settings, sorts the best first.
        left: how many trials.

    Returns:
        The trials of the race, up to the first one without a result.
    """
    grouped, race = group_by_settings(runs), []
    while len(race) < left:
        best = min(grouped, key=lambda trial: sort_key(grouped[trial]))
        race.append(Trial(best.items, len(grouped[best])))
        if race[-1] not in results:
            break
        grouped[best].append(results[race[-1]])
    return race


def choose_settings(runs: Iterable[ScoredRun], sort_key: SortKey) -> Choice:
    """Chooses the settings of which the fewest runs failed or missed, then the best ones.

    Of settings alike in that, those with several seeds go before those with one, which may be
    lucky.

    Args:
        runs: of all trials of the search that have a result, as far as they count.
        sort_key: of the runs of some settings, sorts the best first.
    """
    grouped = group_by_settings(runs)
    if all(run.failed for mine in grouped.values() for run in mine):
        return Choice(None, ())

    def order(trial: Trial) -> Any:
        failed, missed, *rest = sort_key(grouped[trial])
        return failed, missed, len(grouped[trial]) == 1, *rest

    best = min(grouped, key=order).settings
    return Choice(best, tuple(find_edges(best, [trial.settings for trial in grouped])))


def find_edges(best: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Finds the keys whose value in `best` is the least or the greatest tried.

    The lr is held against those that were tried together with the same other values or, if there
    are none, as where all values are drawn, against all. Another key counts only if more than two
    numbers of it were tried: two are a choice, not a range; and 0 is no edge, for there is nothing
    below.
    """
    for key, value in best.items():
        others = {k: v for k, v in best.items() if k != key}
        values = [s[key] for s in tried]
        if key == LR:
            alike = [s[LR] for s in tried if all(s[k] == v for k, v in others.items())]
            values = alike if len(set(alike)) > 1 else values
        if not all(isinstance(x, (int, float)) for x in values):
            continue
        end = value in (min(values), max(values))
        if end and (key == LR or (len(set(values)) > 2 and value != 0)):
            yield key
