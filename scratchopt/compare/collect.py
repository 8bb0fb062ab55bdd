"""Runs that are there already: read from their files, and put together by their seeds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from scratchopt.compare.comparison import Comparison, SeedGroup, compare_groups
from scratchopt.compare.request import Request
from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.scoring import ENDED, score_run
from scratchopt.config.checkout import CONF
from scratchopt.config.fields import UserError, as_typed, validate_fields
from scratchopt.config.groups import ComparisonConfig
from scratchopt.objective import Objective
from scratchopt.plots.settings import Setting, group_by_setting
from scratchopt.runs.directory import Run, find_runs

READING_KEYS = ("validate_every", "validate_steps", "until")  # which are no settings of a run
UNTESTED = "that were not tested, a comparison's trials"
STOPPED = "of settings that were stopped before the target, for costing more than others"
KEYS = ("decide", "output", "task")  # those of conf/compare.yaml that may be given with --from


def collect_runs(
    place: Path, request: Request
) -> tuple[Comparison, list[Path], dict[str, list[Path]]]:
    """Collects the runs beneath a directory into a comparison.

    Where some runs of a task were tested and others not, the others have tuned something, and
    count neither as settings of their own nor as seeds of those that they chose. Nor do settings
    count of which runs were stopped: of others' costs, these may be less or more.

    What is asked of a task is what the runs' own configuration says, or that of conf/task, unless
    `comparison.metric`, `comparison.mode` and `comparison.target` are given.

    Args:
        place: of runs, a multirun or a store.
        request: with no keys but those that say how to compare.

    Returns:
        The comparison; the directories of runs that have not ended; and those of runs that are
        left out, by what they are.

    Raises:
        UserError: other keys, no run that has ended, or a task that says nothing of its metric.
    """
    given = _validate_given(request)
    found = find_runs([place])
    if "task" in request.given:
        found = [run for run in found if run.task in request.tasks]
    if not found:
        raise UserError(f"{place}: no run of task={','.join(request.tasks)}")
    ended = [run for run in found if _is_complete(run) or _was_stopped(run)]
    unended = [run.directory for run in found if run not in ended]
    by_task: dict[str, list[Run]] = {}
    left_out: dict[str, list[Path]] = {UNTESTED: [], STOPPED: []}
    for task in dict.fromkeys(run.task for run in ended):
        runs = _leave_out([run for run in ended if run.task == task], left_out)
        by_task |= {task: runs} if runs else {}
    if not by_task:
        raise UserError(f"{place}: none of its {len(found)} runs has ended; go on with them first")
    command = shlex.join(
        ["python", "scripts/compare.py", "--from", "DIR", *request.given_arguments]
    )
    decide = request.keys["decide"]
    parts = [
        compare_groups(*_group_runs(task, runs, given, decide), task, decide, command)
        for task, runs in by_task.items()
    ]
    contests = tuple(contest for part in parts for contest in part.contests)
    seeds = sorted({seed for part in parts for seed in part.seeds})
    until = "target" if any(run.config["until"] == "target" for run in ended) else "end"
    together = replace(parts[0], contests=contests, seeds=tuple(seeds), until=until)
    return together, unended, left_out


def _leave_out(runs: Sequence[Run], left_out: dict[str, list[Path]]) -> list[Run]:
    """Leaves out trials among tested runs, and settings of which a run was stopped.

    Args:
        runs: of a task.
        left_out: to which their directories are added.
    """
    judged = [run for run in runs if run.config.get("test", True)] or runs
    groups = [setting.runs for setting in group_by_setting(judged)]
    whole = [run for group in groups if not any(map(_was_stopped, group)) for run in group]
    left_out[UNTESTED] += [run.directory for run in runs if run not in judged]
    left_out[STOPPED] += [run.directory for run in judged if run not in whole]
    return whole


def _was_stopped(run: Run) -> bool:
    return run.result is not None and run.result.status == "stopped"


def _is_complete(run: Run) -> bool:
    return run.result is not None and run.result.complete and run.result.status in ENDED


def _group_runs(
    task: str, runs: Sequence[Run], given: Mapping[str, Any], decide: str
) -> tuple[list[SeedGroup], Objective]:
    """Puts the runs of a task together that differ in the seed alone, and finds its objective.

    Raises:
        UserError: runs that were asked for different things, or ended before what is asked now; or
            two runs of one seed that differ: by what, nobody can tell.
    """
    objectives = dict.fromkeys(_find_objective(task, run, given) for run in runs)
    if len(objectives) > 1:
        raise UserError(
            f"task={task}: its runs were asked for different things "
            f"({', '.join(f'{o.metric} {o.mode} {o.target}' for o in objectives)}); give "
            f"task={task} and comparison.metric, .mode and .target"
        )
    [objective] = objectives
    for run in runs if decide == "metric" or given else ():
        _check_end(run, objective, decide)
    origins = zip(*(_describe_origin(run) for run in runs), strict=True)
    varied = [i for i, each in enumerate(origins) if len(set(each)) > 1]
    groups = [
        SeedGroup(name, _score_each_seed(name, alike, objective))
        for setting in group_by_setting(runs)
        for name, alike in _split_by_origin(setting, varied).items()
    ]
    return groups, objective


def _check_end(run: Run, objective: Objective, decide: str) -> None:
    """Refuses a run that ended at its target, where another target or its end is asked for.

    Raises:
        UserError: with the remedy.
    """
    if run.config["until"] == "end":
        return
    own = Objective.from_keys(run.config["comparison"])
    ended = f"{run.directory} ended where {own.metric} was at {own.target}"
    if decide == "metric":
        raise UserError(f"decide=metric: {ended}; take runs with until=end")
    if objective != own:
        asked = f"comparison.metric={objective.metric}, .target={objective.target}"
        raise UserError(f"{asked}: {ended}; take runs with until=end")


def _split_by_origin(setting: Setting, varied: Sequence[int]) -> dict[str, list[Run]]:
    """Splits the runs of a setting by what else the task's runs differ in, which is in the names.

    Args:
        setting: whose runs they are.
        varied: the indices of what differs in their origins.
    """
    groups: dict[str, list[Run]] = {}
    for run in setting.runs:
        origin = _describe_origin(run)
        groups.setdefault(", ".join([setting.name, *(origin[i] for i in varied)]), []).append(run)
    return groups


def _describe_origin(run: Run) -> list[str]:
    """Says by what code a run was done, and how its metric was read."""
    code = run.result.versions.get("code") if run.result else None
    return [f"code {str(code)[:6]}", *(f"{k}={as_typed(run.config.get(k))}" for k in READING_KEYS)]


def _score_each_seed(name: str, runs: Sequence[Run], objective: Objective) -> tuple[ScoredRun, ...]:
    """Scores one run for each seed, in the seeds' order; a run that is there twice counts once."""
    found: dict[int, tuple[Run, ScoredRun]] = {}
    for run in runs:
        scored = score_run(run, objective, {})
        first, known = found.setdefault(run.config["seed"], (run, scored))
        if known.fingerprint != scored.fingerprint:
            raise UserError(
                f"{name}: {run.directory} and {first.directory} have one seed, yet are not the "
                "same; give a directory with one of them"
            )
    return tuple(found[seed][1] for seed in sorted(found))


def _validate_given(request: Request) -> dict[str, Any]:
    """Validates what the command line says of the objective, and that it says nothing else."""
    strange = [key for key in request.given if key not in KEYS]
    values = OmegaConf.to_container(OmegaConf.from_dotlist(list(request.overrides)))
    if not isinstance(values, dict) or strange or set(values) - {"comparison"}:
        odd = [*strange, *(set(values) - {"comparison"})]  # pyright: ignore
        raise UserError(
            f"{odd[0]}: with --from only {', '.join(KEYS)} and comparison.… may be given; "
            "the runs are what they are"
        )
    return validate_fields(ComparisonConfig, values.get("comparison", {}), "comparison.")


def _find_objective(task: str, run: Run, given: Mapping[str, Any]) -> Objective:
    """Finds the objective in what was given, in the run's configuration, or in conf/task."""
    own = run.config["comparison"]
    shipped = CONF / "task" / f"{task}.yaml"
    if own is None and shipped.is_file():
        own = OmegaConf.to_container(OmegaConf.load(shipped)).get("comparison")  # pyright: ignore
    keys = {**(own or {}), **given}
    if missing := [key for key in ("metric", "mode", "target") if key not in keys]:
        raise UserError(
            f"task={task}: nothing says what to compare by; give comparison.{missing[0]}=… too"
        )
    return Objective.from_keys(keys)
