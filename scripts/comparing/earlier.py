"""Runs that are there already, as a comparison: those that differ by the seed alone together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from scripts.comparing.measured import Comparison, Objective
from scripts.comparing.parts import Aggregate, compared
from scripts.comparing.reading import COMPLETE, measured
from scripts.comparing.request import CONF, Request
from scripts.fields import Refusal, held_against
from scripts.nodes import Comparison as Asked
from scripts.plotting.comparison import settings_of
from scripts.recorded import Run, runs_in

TAKEN = ("decide", "output")  # of the keys of conf/compare.yaml, those that mean something here


def earlier(place: Path, request: Request) -> tuple[Comparison, list[Path]]:
    """The runs beneath a directory, and the directories of those that have not ended.

    What is asked of a task is what the runs' own configuration says, or that of conf/task, unless
    `comparison.metric`, `comparison.mode` and `comparison.target` are given.

    Args:
        place: of runs, a multirun or a store.
        request: with no keys but those that say how to compare.

    Raises:
        Refusal: other keys, no run that has ended, or a task that says nothing of its metric.
    """
    given = _given(request)
    found = runs_in([place])
    ended = [run for run in found if run.result and run.result["status"] in COMPLETE]
    if not ended:
        raise Refusal(f"{place}: none of its {len(found)} runs has ended; go on with them first")
    by_task: dict[str, list[Run]] = {}
    for run in ended:
        by_task.setdefault(run.task, []).append(run)
    command = shlex.join(["python", "scripts/compare.py", "--from", "DIR", *request.asked])
    parts = [_of_task(task, runs, given, request, command) for task, runs in by_task.items()]
    contests = tuple(contest for part in parts for contest in part.contests)
    seeds = sorted({seed for part in parts for seed in part.seeds})
    whole = replace(parts[0], contests=contests, seeds=tuple(seeds))
    return whole, [run.directory for run in found if run not in ended]


def _of_task(
    task: str, runs: Sequence[Run], given: Mapping[str, Any], request: Request, command: str
) -> Comparison:
    objective = _objective(task, runs[0], given)
    groups = [
        Aggregate(
            setting.name,
            tuple(
                sorted((measured(run, objective, {}) for run in setting.runs), key=lambda r: r.seed)
            ),
        )
        for setting in settings_of(runs)
    ]
    return compared(groups, objective, task, request.keys["decide"], command)


def _given(request: Request) -> dict[str, Any]:
    """What the command line says of the objective."""
    strange = [key for key in request.given if key not in TAKEN]
    values = OmegaConf.to_container(OmegaConf.from_dotlist(list(request.overrides)))
    if not isinstance(values, dict) or strange or set(values) - {"comparison"}:
        odd = [*strange, *(set(values) - {"comparison"})]  # pyright: ignore
        raise Refusal(
            f"{odd[0]}: with --from only {', '.join(TAKEN)} and comparison.… may be given; "
            "the runs are what they are"
        )
    return held_against(Asked, values.get("comparison", {}), "comparison.")


def _objective(task: str, run: Run, given: Mapping[str, Any]) -> Objective:
    own = run.config["comparison"]
    shipped = CONF / "task" / f"{task}.yaml"
    if own is None and shipped.is_file():
        own = OmegaConf.to_container(OmegaConf.load(shipped)).get("comparison")  # pyright: ignore
    asked = {**(own or {}), **given}
    if missing := [key for key in ("metric", "mode", "target") if key not in asked]:
        raise Refusal(
            f"task={task}: nothing says what to compare by; give comparison.{missing[0]}=… too"
        )
    return Objective(asked["metric"], asked["mode"], asked["target"])
