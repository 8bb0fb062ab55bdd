"""Runs that are there already, as a comparison: those that differ by the seed alone together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from scratchopt.compare.measured import Comparison, Measured, Objective
from scratchopt.compare.parts import Aggregate, compared
from scratchopt.compare.reading import COMPLETE, measured
from scratchopt.compare.request import Request
from scratchopt.config.checkout import CONF
from scratchopt.config.fields import UserError, as_typed, validate_fields
from scratchopt.config.groups import Comparison as Asked
from scratchopt.plots.settings import Setting, group_by_setting
from scratchopt.runs.directory import Run, runs_in

READ = ("validate_every", "validate_steps")  # which are no settings of a run
# Of the keys of conf/compare.yaml, those that mean something here.
TAKEN = ("decide", "output", "task")


def earlier(place: Path, request: Request) -> tuple[Comparison, list[Path], list[Path]]:
    """The runs beneath a directory; the directories of those that have not ended, and of trials.

    Where some runs of a task were tested and others not, the others have tuned something, and
    count neither as settings of their own nor as seeds of those that they chose.

    What is asked of a task is what the runs' own configuration says, or that of conf/task, unless
    `comparison.metric`, `comparison.mode` and `comparison.target` are given.

    Args:
        place: of runs, a multirun or a store.
        request: with no keys but those that say how to compare.

    Raises:
        UserError: other keys, no run that has ended, or a task that says nothing of its metric.
    """
    given = _given(request)
    found = [r for r in runs_in([place]) if "task" not in request.given or r.task in request.tasks]
    if not found:
        raise UserError(f"{place}: no run of task={','.join(request.tasks)}")
    unended = [run.directory for run in found if not _is_complete(run)]
    if len(unended) == len(found):
        raise UserError(f"{place}: none of its {len(found)} runs has ended; go on with them first")
    by_task: dict[str, list[Run]] = {}
    for run in filter(_is_complete, found):
        by_task.setdefault(run.task, []).append(run)
    trials: list[Path] = []
    for task, runs in by_task.items():
        judged = [run for run in runs if run.config.get("test", True)]
        if judged:
            trials += [run.directory for run in runs if run not in judged]
            by_task[task] = judged
    command = shlex.join(["python", "scripts/compare.py", "--from", "DIR", *request.asked])
    parts = [_of_task(task, runs, given, request, command) for task, runs in by_task.items()]
    contests = tuple(contest for part in parts for contest in part.contests)
    seeds = sorted({seed for part in parts for seed in part.seeds})
    whole = replace(parts[0], contests=contests, seeds=tuple(seeds))
    return whole, unended, trials


def _of_task(
    task: str, runs: Sequence[Run], given: Mapping[str, Any], request: Request, command: str
) -> Comparison:
    objectives = dict.fromkeys(_objective(task, run, given) for run in runs)
    if len(objectives) > 1:
        raise UserError(
            f"task={task}: its runs were asked for different things "
            f"({', '.join(f'{o.metric} {o.mode} {o.target}' for o in objectives)}); give "
            f"task={task} and comparison.metric, .mode and .target"
        )
    [objective] = objectives
    ways = zip(*(_way(run) for run in runs), strict=True)
    varied = [i for i, each in enumerate(ways) if len(set(each)) > 1]
    groups = [g for setting in group_by_setting(runs) for g in _alike(setting, varied, objective)]
    return compared(groups, objective, task, request.keys["decide"], command)


def _is_complete(run: Run) -> bool:
    return run.result is not None and run.result.complete and run.result.status in COMPLETE


def _alike(setting: Setting, varied: Sequence[int], objective: Objective) -> list[Aggregate]:
    """The runs of a setting; those that other code has done, or that were read otherwise, apart.

    Args:
        setting: that it is about.
        varied: in what of `_way` the task's runs differ, which then stands in the names.
        objective: of the task.

    Raises:
        UserError: two runs of one seed that differ: by what, nobody can tell.
    """
    groups: dict[str, list[Run]] = {}
    for run in setting.runs:
        way = _way(run)
        groups.setdefault(", ".join([setting.name, *(way[i] for i in varied)]), []).append(run)
    return [Aggregate(name, _each_once(name, runs, objective)) for name, runs in groups.items()]


def _way(run: Run) -> list[str]:
    """By what code it was done, and how it was read."""
    code = run.result.versions.get("code") if run.result else None
    return [f"code {str(code)[:6]}", *(f"{k}={as_typed(run.config.get(k))}" for k in READ)]


def _each_once(name: str, runs: Sequence[Run], objective: Objective) -> tuple[Measured, ...]:
    """In the seeds' order; of two that are the same run, one."""
    found: dict[int, tuple[Run, Measured]] = {}
    for run in runs:
        told = measured(run, objective, {})
        if told.seed not in found:
            found[told.seed] = run, told
            continue
        first, known = found[told.seed]
        if known.course != told.course:
            raise UserError(
                f"{name}: {run.directory} and {first.directory} have one seed, yet are not the "
                "same; give a directory with one of them"
            )
    return tuple(found[seed][1] for seed in sorted(found))


def _given(request: Request) -> dict[str, Any]:
    """What the command line says of the objective."""
    strange = [key for key in request.given if key not in TAKEN]
    values = OmegaConf.to_container(OmegaConf.from_dotlist(list(request.overrides)))
    if not isinstance(values, dict) or strange or set(values) - {"comparison"}:
        odd = [*strange, *(set(values) - {"comparison"})]  # pyright: ignore
        raise UserError(
            f"{odd[0]}: with --from only {', '.join(TAKEN)} and comparison.… may be given; "
            "the runs are what they are"
        )
    return validate_fields(Asked, values.get("comparison", {}), "comparison.")


def _objective(task: str, run: Run, given: Mapping[str, Any]) -> Objective:
    own = run.config["comparison"]
    shipped = CONF / "task" / f"{task}.yaml"
    if own is None and shipped.is_file():
        own = OmegaConf.to_container(OmegaConf.load(shipped)).get("comparison")  # pyright: ignore
    asked = {**(own or {}), **given}
    if missing := [key for key in ("metric", "mode", "target") if key not in asked]:
        raise UserError(
            f"task={task}: nothing says what to compare by; give comparison.{missing[0]}=… too"
        )
    return Objective(asked["metric"], asked["mode"], asked["target"])
