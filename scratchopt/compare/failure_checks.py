"""The checks of a verdict that are about optimizers without runs, and runs without a result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from textwrap import shorten

from scratchopt.compare.comparison import Study
from scratchopt.compare.ranking import Ranking
from scratchopt.compare.runs import ScoredRun

MAX_ERROR = 300  # characters of an error in a sentence


def check_studies(ranking: Ranking) -> Iterator[str]:
    """Refuses one optimizer alone, and one of which no trial came to anything."""
    if len(ranking.contest.studies) < 2:
        yield "There is one optimizer alone."
    for study in ranking.contest.studies:
        if study.chosen is None:
            yield _describe_no_trial(study)
        elif not study.tuned:
            yield f"{study.optimizer} has no runs at its chosen settings."


def check_failures(ranking: Ranking) -> Iterator[str]:
    """Refuses errors of anyone, in tuning too, and a leader that diverged."""
    for study in ranking.contest.studies:
        runs = _list_runs(study)
        failed = [run for run in runs if run.result.status == "failed"]
        if failed and study.chosen is not None:  # else `check_studies` says it
            errors = _describe_errors(failed)
            yield (
                f"{len(failed)} of {len(runs)} runs of {study.optimizer} ended in an error"
                + (f": {errors}" if errors else ".")
            )
        diverged = sum(run.result.status == "diverged" for run in study.tuned)
        if diverged and study.optimizer == ranking.leader:
            yield f"{diverged} of {len(study.tuned)} runs of {study.optimizer} diverged."


def is_beside_errors(study: Study, key: str) -> bool:
    """Tells whether runs at the tried value that is next to the chosen one ended in an error."""
    chosen = study.chosen and study.chosen[key]
    others = [run for run in study.trials if run.settings.get(key) not in (None, chosen)]
    if not others or chosen is None:
        return False
    nearest = min((run.settings[key] for run in others), key=lambda value: abs(value - chosen))
    near = [run for run in others if run.settings[key] == nearest]
    return any(run.result.status == "failed" for run in near)


def _list_runs(study: Study) -> list[ScoredRun]:
    """Lists all runs of an optimizer, once if they are of two roles."""
    runs = [*study.trials, *study.tuned, *study.untuned]
    return list({run.address or i: run for i, run in enumerate(runs)}.values())


def _describe_no_trial(study: Study) -> str:
    """Says what became of the trials of an optimizer, where none came to anything."""
    failed = [run for run in study.trials if run.result.status == "failed"]
    not_compared = f"No trial of {study.optimizer} came to anything, so it was not compared"
    if failed and len(failed) == len(study.trials):
        return f"{not_compared}: each ended in an error. {_describe_errors(failed)}".rstrip()
    remedy = "try a larger budget, or a default lr nearer to what works."
    if failed:
        count = f"{len(failed)} of {len(study.trials)} ended in an error"
        return f"{not_compared}: {count}. {_describe_errors(failed)} For the others {remedy}"
    return f"{not_compared}: {remedy}"


def _describe_errors(runs: Iterable[ScoredRun]) -> str:
    """The errors that runs ended with, the most frequent first, as sentences; two at most."""
    counts = Counter(run.result.error for run in runs if run.result.error)
    shown = [shorten(error, MAX_ERROR, placeholder=" …") for error, _ in counts.most_common(2)]
    more = len(counts) - len(shown)
    return "; ".join(shown) + (f"; and {more} other errors" if more > 0 else "") + "." * bool(shown)
