"""The runs that a report is about, by task, optimizer and role."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scratchopt.compare.measured import Comparison, Contest, Measured, Objective, Study


@dataclass(frozen=True)
class Part:
    """Runs that have the same name and role on a task.

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
    runs: tuple[Measured, ...]


@dataclass(frozen=True)
class Aggregate:
    """Runs of an earlier multirun that differ in the seed alone.

    Args:
        name: what tells their settings from the others', such as "adam, lr=0.001".
        runs: in the seeds' order.
    """

    name: str
    runs: tuple[Measured, ...]


def parts(comparison: Comparison) -> Iterator[Part]:
    """Of a comparison, in the order of its contests and studies."""
    for contest in comparison.contests:
        for study in contest.studies:
            of = contest.task, contest.objective, study.optimizer
            yield Part(*of, "trials", study.trials)
            yield Part(*of, "tuned", study.tuned)
            yield Part(*of, "untuned", study.untuned)


def compared(
    groups: Sequence[Aggregate], objective: Objective, task: str, decide: str, command: str
) -> Comparison:
    """Groups of an earlier multirun as a comparison without trials: each is a study of its own.

    Args:
        groups: whose names differ.
        objective: that they are held against.
        task: of their runs.
        decide: cost or metric, as in `Comparison`.
        command: that makes the report, without what says where its files lie.
    """
    studies = tuple(Study(g.name, {}, (), {}, (), g.runs, ()) for g in groups)
    seeds = sorted({run.seed for group in groups for run in group.runs})
    contest = Contest(task, objective, studies)
    return Comparison((contest,), decide, 0, 0, tuple(seeds), {}, command)
