"""The checks of a verdict that are about the tuning: who was not tuned well can't be judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf, isfinite

from scratchopt.compare.failure_checks import is_beside_errors
from scratchopt.compare.formatting import format_count, format_number, format_p_clause
from scratchopt.compare.nesting import DECISIVE, includes
from scratchopt.compare.ranking import Ranking, estimate
from scratchopt.compare.statistics import ALPHA, holm
from scratchopt.compare.trials import LR, judge
from scratchopt.compare.tuning_margin import (
    TunedRuns,
    cliffs_delta,
    judge_tuned_runs,
    p_beyond_margin,
)


def check_defaults(ranking: Ranking) -> Iterator[str]:
    """Refuses tuned runs that are worse than those at the optimizer's own default settings.

    They are if more of them failed or missed the target, or by more than tuning leaves to chance,
    by the test of `p_beyond_margin` with Holm's correction for all optimizers. A tuning begins at
    the defaults, so it has then chosen by a lucky seed.
    """
    objective, decide = ranking.contest.objective, ranking.decide
    studies = [
        study
        for study in ranking.contest.studies
        if study.tuned and study.untuned and study.chosen != study.default
    ]
    judged = [
        (
            replace(judge_tuned_runs(study, objective, decide), runner_up=inf),
            TunedRuns([judge(run, objective, decide) for run in study.untuned]),
        )
        for study in studies
    ]
    ps = holm([p_beyond_margin(tuned, untuned, decide) for tuned, untuned in judged])
    for study, runs, p in zip(studies, judged, ps, strict=True):
        tuned, untuned = (part.values for part in runs)
        lost, lost_untuned = (sum(not isfinite(x) for x in each) for each in (tuned, untuned))
        figures = ""
        if lost * len(untuned) > lost_untuned * len(tuned):
            what = "missed the target or failed" if decide == "cost" else "failed"
            figures = f"{lost} of {len(tuned)} {what}, of the others {lost_untuned}"
        elif p <= ALPHA and cliffs_delta(untuned, tuned) > 0:
            default = _format(ranking, estimate(untuned, objective, decide).value)
            ours = format_estimate(ranking, study.optimizer)
            figures = f"{ours} to {default}, {format_p_clause(p)}"
        if figures:
            yield (
                f"{study.optimizer} is undertuned: its tuned runs are worse than those at its "
                f"default settings ({figures}); try a larger budget."
            )


def check_edges(ranking: Ranking) -> Iterator[str]:
    """Refuses a best value, of whichever optimizer, at the end of what was tried."""
    for study in ranking.contest.studies:
        for key in study.edges:
            if study.chosen is not None:
                value = study.chosen[key]
                remedy = "try " + ("a larger budget" if key == LR else "values beyond it in tune=")
                if is_beside_errors(study, key):
                    remedy = "the next one ended in an error, so mend that first"
                yield (
                    f"{study.optimizer} is undertuned: its best {key}={value} is on the edge of "
                    f"what was tried; {remedy}."
                )


def check_nesting(ranking: Ranking) -> Iterator[str]:
    """Refuses an optimizer that is significantly worse than one that it includes."""
    for pair in ranking.pairs:
        if pair.better is None:
            continue
        worse = pair.other(pair.better)
        if includes(worse, pair.better):
            searched = next(s.default for s in ranking.contest.studies if s.optimizer == worse)
            keys = [key for key in DECISIVE[worse] if key not in searched]
            also = f", and a search of {' and '.join(keys)} too" if keys else ""
            yield (
                f"{worse} is undertuned: it includes {pair.better}, yet is worse "
                f"({format_estimate(ranking, worse)} to {format_estimate(ranking, pair.better)}, "
                f"{format_p_clause(pair.corrected)}); try a larger budget{also}."
            )


def format_estimate(ranking: Ranking, name: str) -> str:
    """Formats what an optimizer came to, the median cost or the mean metric."""
    return _format(ranking, ranking.estimates[name].value)


def _format(ranking: Ranking, value: float) -> str:
    return format_count(value) if ranking.decide == "cost" else format_number(value)
