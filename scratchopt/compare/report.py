"""The report of a comparison: all that a reader needs of it.

Console, Markdown, page, charts and the files of data are made from this and from nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scratchopt.compare.analysis import (
    Profile,
    Sensitivity,
    compute_profiles,
    count_inexact,
    expect_best_of_k,
    find_best_default,
    measure_sensitivity,
)
from scratchopt.compare.comparison import Comparison, Contest, RunSet, Study, list_run_sets
from scratchopt.compare.summary import Summary, summarize
from scratchopt.compare.trials import CRITERIA
from scratchopt.compare.verdict import Verdict, reach_verdict
from scratchopt.objective import Objective


@dataclass(frozen=True)
class Entry:
    """An optimizer on a task, or a group of runs that were there already.

    Args:
        name: of the optimizer or of the group.
        default: its own settings of what was searched, by key.
        chosen: the best settings; None, if no trial came to anything.
        edges: the keys of `chosen` whose value is the least or the greatest tried.
        trials: how many there were.
        stopped: how many of them, as they could not become the best any more.
        sensitivity: to the lr; None, where it was not searched.
        expected_best: by criterion, cost or metric, the pairs of k and the best of k trials.
        exact_from: the k from which on the expected cost is exact; fewer trials may all have been
            stopped, and it is more than that.
        tuned: the outcome at the chosen settings; None, where there are no such runs.
        untuned: the outcome at the default settings.
    """

    name: str
    default: Mapping[str, Any]
    chosen: Mapping[str, Any] | None
    edges: Sequence[str]
    trials: int
    stopped: int
    sensitivity: Sensitivity | None
    expected_best: Mapping[str, Sequence[tuple[int, float]]]
    exact_from: int
    tuned: Summary | None
    untuned: Summary | None


@dataclass(frozen=True)
class TaskReport:
    """All optimizers on one task, and the verdict.

    Args:
        task: name of the choice in conf/task.
        name: the same, as the names of files can have it.
        objective: of the task.
        verdict: on the optimizers.
        best_default: the optimizer that is best with its default settings; None without any.
        entries: the optimizers, in the order in which they were given.
        until: target, if the runs ended where they reached it; or end.
    """

    task: str
    name: str
    objective: Objective
    verdict: Verdict
    best_default: str | None
    entries: Sequence[Entry]
    until: str


@dataclass(frozen=True)
class Report:
    """All that a reader needs of a comparison.

    Args:
        kind: comparison; groups, where runs that were there already are put together.
        names: the optimizers or groups, of all tasks.
        decide: what names a winner, cost or metric.
        budget: trials of each optimizer on each task.
        tuning_seed: of the trials.
        seeds: of the runs that are judged.
        space: the search space in words, by optimizer.
        command: that makes this report, without what says where its files lie.
        versions: by package, all that ran.
        tasks: in order.
        profile: of each optimizer over the tasks; None, where there is one task, or not all are on
            each.
        run_sets: all runs, by task, name and role.
    """

    kind: str
    names: Sequence[str]
    decide: str
    budget: int
    tuning_seed: int
    seeds: Sequence[int]
    space: Mapping[str, str]
    command: str
    versions: Mapping[str, Sequence[str]]
    tasks: Sequence[TaskReport]
    profile: Mapping[str, Profile] | None
    run_sets: Sequence[RunSet]

    @property
    def is_tuned(self) -> bool:
        """Tells a comparison, whose optimizers were tuned, from groups of runs."""
        return self.kind == "comparison"

    def runs_on(self, task: str) -> list[RunSet]:
        """The runs on one of the tasks, by name and role."""
        return [runs for runs in self.run_sets if runs.task == task]


def make_report(comparison: Comparison) -> Report:
    """Makes the report of a comparison, or of groups of runs, if nothing was tried in it."""
    names = [study.optimizer for contest in comparison.contests for study in contest.studies]
    run_sets = list_run_sets(comparison)
    return Report(
        kind="comparison" if comparison.budget else "groups",
        names=list(dict.fromkeys(names)),
        decide=comparison.decide,
        budget=comparison.budget,
        tuning_seed=comparison.tuning_seed,
        seeds=comparison.seeds,
        space=comparison.space,
        command=comparison.command,
        versions=_collect_versions(run_sets),
        tasks=[
            _report_task(contest, comparison.decide, comparison.until)
            for contest in comparison.contests
        ],
        profile=_report_profile(comparison),
        run_sets=run_sets,
    )


def _report_task(contest: Contest, decide: str, until: str) -> TaskReport:
    return TaskReport(
        task=contest.task,
        name=re.sub(r"[^\w=.,-]+", "_", contest.task),
        objective=contest.objective,
        verdict=reach_verdict(contest, decide),
        best_default=find_best_default(contest, decide),
        entries=[_report_study(study, contest.objective, decide) for study in contest.studies],
        until=until,
    )


def _report_study(study: Study, objective: Objective, decide: str) -> Entry:
    return Entry(
        name=study.optimizer,
        default=study.default,
        chosen=study.chosen,
        edges=study.edges,
        trials=len(study.trials),
        stopped=sum(run.stopped for run in study.trials),
        sensitivity=measure_sensitivity(study, objective, decide),
        expected_best={
            criterion: expect_best_of_k(study, objective, criterion) if study.trials else []
            for criterion in CRITERIA
        },
        exact_from=count_inexact(study) + 1,
        tuned=summarize(study.tuned, objective),
        untuned=summarize(study.untuned, objective),
    )


def _report_profile(comparison: Comparison) -> Mapping[str, Profile] | None:
    """Computes the profiles where they are of the same optimizers on several tasks.

    Runs that are there already bear the names of their settings, which differ between tasks.
    """
    names = {tuple(sorted(s.optimizer for s in c.studies)) for c in comparison.contests}
    if len(comparison.contests) < 2 or len(names) > 1:
        return None
    return compute_profiles(comparison)


def _collect_versions(run_sets: Sequence[RunSet]) -> dict[str, list[str]]:
    found = [run.result.versions for runs in run_sets for run in runs.runs]
    packages = sorted({package for versions in found for package in versions})
    return {
        package: sorted({str(versions.get(package) or "not installed") for versions in found})
        for package in packages
    }
