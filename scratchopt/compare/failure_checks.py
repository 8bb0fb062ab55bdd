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
    """Refuses errors of anyone, and a leader that diverged."""
    for study in ranking.contest.studies:
        for status, verb in (("failed", "ended with an error"), ("diverged", "diverged")):
            count = sum(run.result.status == status for run in study.tuned)
            if count and (status == "failed" or study.optimizer == ranking.leader):
                errors = _describe_errors(study.tuned)
                yield (
                    f"{count} of {len(study.tuned)} runs of {study.optimizer} {verb}"
                    + (f": {errors}" if errors and status == "failed" else ".")
                )


def _describe_no_trial(study: Study) -> str:
    """Says what became of the trials of an optimizer, where none came to anything."""
    failed = [run for run in study.trials if run.result.status == "failed"]
    not_compared = f"No trial of {study.optimizer} came to anything, so it was not compared"
    if failed and len(failed) == len(study.trials):
        return f"{not_compared}: each ended with an error. {_describe_errors(failed)}".rstrip()
    remedy = "a larger budget, or a default lr nearer to what works."
    if failed:
        count = f"{len(failed)} of {len(study.trials)} ended with an error"
        return f"{not_compared}: {count}. {_describe_errors(failed)} For the others {remedy}"
    return f"{not_compared}: {remedy}"


def _describe_errors(runs: Iterable[ScoredRun]) -> str:
    """The errors that runs ended with, the most frequent first, as sentences; two at most."""
    counts = Counter(run.result.error for run in runs if run.result.error)
    shown = [shorten(error, MAX_ERROR, placeholder=" …") for error, _ in counts.most_common(2)]
    more = len(counts) - len(shown)
    return "; ".join(shown) + (f"; and {more} other errors" if more > 0 else "") + "." * bool(shown)
