"""A comparison: an optimizer's runs, those of all optimizers on a task, and those of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scratchopt.compare.runs import ScoredRun
from scratchopt.objective import Objective


@dataclass(frozen=True)
class Study:
    """An optimizer on a task: its trials, and its runs at the settings that these chose.

    Args:
        optimizer: name of the choice in conf/optimizer.
        default: its own settings of what is searched, such as {"optimizer.lr": 0.001}.
        trials: all of the budget, in the order in which they were asked for.
        chosen: the best settings; None, if no trial came to anything.
        edges: the keys of `chosen` whose value is the least or the greatest tried.
        tuned: runs at the chosen settings, of fresh seeds, in the seeds' order.
        untuned: runs at the default settings, of the same seeds.
    """

    optimizer: str
    default: Mapping[str, Any]
    trials: tuple[ScoredRun, ...]
    chosen: Mapping[str, Any] | None
    edges: tuple[str, ...]
    tuned: tuple[ScoredRun, ...]
    untuned: tuple[ScoredRun, ...]


@dataclass(frozen=True)
class Contest:
    """All optimizers on one task.

    Args:
        task: name of the choice in conf/task.
        objective: of the task.
        studies: one an optimizer, in the order in which they were given.
    """

    task: str
    objective: Objective
    studies: tuple[Study, ...]


@dataclass(frozen=True)
class Comparison:
    """The optimizers on all tasks, and how they were compared: what a report is made of.

    Args:
        contests: one a task.
        decide: what names a winner: cost (gradient evaluations to the target) or metric (the
            objective's metric at the end).
        budget: trials of each optimizer on each task.
        tuning_seed: of the trials.
        seeds: the fresh ones.
        space: the search space in words, by optimizer.
        command: that makes this comparison, without what says where its files lie.
        until: target, if the runs ended where they reached it; or end.
    """

    contests: tuple[Contest, ...]
    decide: str
    budget: int
    tuning_seed: int
    seeds: tuple[int, ...]
    space: Mapping[str, str]
    command: str
    until: str = "end"


@dataclass(frozen=True)
class RunSet:
    """The runs that have the same name and role on a task.

    Args:
        task: name of the choice in conf/task.
        objective: of the task.
        name: of the optimizer, or of the group.
        role: trials, tuned or untuned.
        runs: in order.
    """

    task: str
    objective: Objective
    name: str
    role: str
    runs: tuple[ScoredRun, ...]


@dataclass(frozen=True)
class SeedGroup:
    """Runs that were there already and differ in the seed alone.

    Args:
        name: what tells their settings from the others', such as "adam, lr=0.001".
        runs: in the seeds' order.
    """

    name: str
    runs: tuple[ScoredRun, ...]


def list_run_sets(comparison: Comparison) -> list[RunSet]:
    """Lists all runs of a comparison, in the order of its contests and studies."""
    return [
        RunSet(contest.task, contest.objective, study.optimizer, role, runs)
        for contest in comparison.contests
        for study in contest.studies
        for role, runs in (
            ("trials", study.trials),
            ("tuned", study.tuned),
            ("untuned", study.untuned),
        )
    ]


def compare_groups(
    groups: Sequence[SeedGroup], objective: Objective, task: str, decide: str, command: str
) -> Comparison:
    """Makes a comparison without trials, in which each group is a study of its own.

    Args:
        groups: whose names differ.
        objective: that they are held against.
        task: of their runs.
        decide: cost or metric, as in `Comparison`.
        command: that makes the report, without what says where its files lie.
    """
    studies = tuple(Study(g.name, {}, (), {}, (), g.runs, ()) for g in groups)
    seeds = sorted({run.result.seed for group in groups for run in group.runs})
    contest = Contest(task, objective, studies)
    return Comparison((contest,), decide, 0, 0, tuple(seeds), {}, command)
