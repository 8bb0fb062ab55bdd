"""All that a reader needs of a comparison, as dicts, lists, strings and numbers.

Console, Markdown, page, charts and the JSON file are made from this and from nothing else. No time
by the clock and no place of a file is in it: the same runs in another store give the same report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scratchopt.compare.analysis import (
    best_of_defaults,
    expected_best,
    profile,
    profile_score,
    sensitivity,
)
from scratchopt.compare.runs import Comparison, Contest, Objective, Study, parts
from scratchopt.compare.summary import account, told
from scratchopt.compare.trials import DECIDE
from scratchopt.compare.verdict import verdict


def report(comparison: Comparison) -> dict[str, Any]:
    """Of a comparison; of the groups of an earlier multirun, if nothing was tried in it."""
    names = [study.optimizer for contest in comparison.contests for study in contest.studies]
    runs = [
        {"task": part.task, "name": part.name, "role": part.role}
        | {"address": run.address if comparison.budget else None}
        | told(run, part.objective)
        for part in parts(comparison)
        for run in part.runs
    ]
    return {
        "kind": "comparison" if comparison.budget else "groups",
        "names": list(dict.fromkeys(names)),
        "decide": comparison.decide,
        "budget": comparison.budget,
        "tuning_seed": comparison.tuning_seed,
        "seeds": list(comparison.seeds),
        "space": dict(comparison.space),
        "command": comparison.command,
        "versions": _versions(runs),
        "tasks": [_task(contest, comparison.decide) for contest in comparison.contests],
        "profile": _profile(comparison),
        "runs": runs,
    }


def _task(contest: Contest, decide: str) -> dict[str, Any]:
    default = best_of_defaults(contest, decide)
    return {
        "task": contest.task,
        "name": re.sub(r"[^\w=.,-]+", "_", contest.task),  # of files
        "objective": asdict(contest.objective),
        "verdict": asdict(verdict(contest, decide)),
        "best_default": default and default[0],
        "entries": [_entry(study, contest.objective, decide) for study in contest.studies],
    }


def _entry(study: Study, objective: Objective, decide: str) -> dict[str, Any]:
    found = sensitivity(study, objective, decide)
    return {
        "name": study.optimizer,
        "default": dict(study.default),
        "chosen": None if study.chosen is None else dict(study.chosen),
        "edges": list(study.edges),
        "trials": len(study.trials),
        "sensitivity": None if found is None else asdict(found),
        "expected_best": {
            of: expected_best(study, objective, of) if study.trials else [] for of in DECIDE
        },
        "tuned": account(study.tuned, objective),
        "untuned": account(study.untuned, objective),
    }


def _profile(comparison: Comparison) -> dict[str, Any] | None:
    """Of each optimizer over the tasks; None, where there is one task, or not all are on each.

    Runs that are there already bear the names of their settings, which differ between tasks.
    """
    names = {tuple(sorted(s.optimizer for s in c.studies)) for c in comparison.contests}
    if len(comparison.contests) < 2 or len(names) > 1:
        return None
    steps, scores = profile(comparison), profile_score(comparison)
    return {name: {"steps": steps[name], "score": scores[name]} for name in steps}


def _versions(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By package, all versions that ran."""
    packages = sorted({package for run in runs for package in run["versions"]})
    return {
        package: sorted({str(run["versions"].get(package) or "not installed") for run in runs})
        for package in packages
    }
