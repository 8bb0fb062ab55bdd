"""The files of a report, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite, nan
from pathlib import Path
from typing import Any

from scratchopt.compare.charts import charts
from scratchopt.compare.formatting import NOT_REACHED, count, number
from scratchopt.compare.render import markdown, markdown_table, page
from scratchopt.compare.report import report
from scratchopt.compare.runs import Comparison, Measured, Part, parts
from scratchopt.compare.statistics import median_interval
from scratchopt.compare.tables import ROLES, Table
from scratchopt.pictures.style import save
from scratchopt.runs.atomic_write import atomic_write

RUN_COLUMNS = (
    "task",
    "name",
    "role",
    "optimizer",
    "seed",
    "status",
    "cost_to_target",
    "steps_to_target",
    "final",
    "best",
    "train_loss",
    "updates",
    "cost",
    "memory",
    "error",
    "address",
)


def write(comparison: Comparison, directory: Path) -> dict[str, Any]:
    """All files of a comparison, and its report.

    `report.md`, `report.html`, `report.json`, `runs.csv` and `figures/` are always the same bytes
    of the same runs, whatever the machine and the store. `times.md`, `times.json` and `times.csv`
    are not.
    """
    told = report(comparison)
    drawn = charts(told)
    for name, figure in drawn.items():
        save(figure, directory / "figures" / name)
    svgs = {name: (directory / "figures" / f"{name}.svg").read_text("utf-8") for name in drawn}
    clock = times(list(parts(comparison)))
    for name, content in {
        "report.md": markdown(told, drawn),
        "report.html": page(told, svgs),
        "report.json": dumps(told),
        "runs.csv": runs_csv(told),
        "times.md": times_markdown(clock),
        "times.json": dumps(clock),
        "times.csv": times_csv(clock),
    }.items():
        atomic_write(directory / name, content)
    return told


def dumps(value: Any) -> str:
    """JSON; numbers that are not finite are the strings inf, -inf and nan, which float() reads."""
    return json.dumps(_plain(value), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def runs_csv(told: Mapping[str, Any]) -> str:
    """A line for each run: what it was set to, how it ended, its test metrics, its versions."""
    runs = told["runs"]
    nested = {
        kind: sorted({key for run in runs for key in run[kind]})
        for kind in ("settings", "test", "versions")
    }
    head = [*RUN_COLUMNS, *(key for keys in nested.values() for key in keys)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for run in runs:
        own = [run[column] for column in RUN_COLUMNS]
        own += [run[kind].get(key) for kind, keys in nested.items() for key in keys]
        writer.writerow(["" if value is None else value for value in own])
    return file.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value


TIME_COLUMNS = ("task", "name", "role", "seed", "seconds", "seconds_to_target", "seconds_per_step")


def times(parts: Sequence[Part]) -> dict[str, Any]:
    """By task, optimizer and role: seconds to the target and per step; and those of each run."""
    return {
        "summary": [
            {"task": part.task, "name": part.name, "role": part.role, "n": len(part.runs)}
            | {
                key: asdict(median_interval([of(run) for run in part.runs]))
                for key, of in _MEASURES.items()
            }
            for part in parts
            if part.role != "trials" and part.runs
        ],
        "runs": [
            {"task": part.task, "name": part.name, "role": part.role, "seed": run.seed}
            | {"seconds": run.seconds}
            | {key: of(run) for key, of in _MEASURES.items()}
            | {"address": run.address, "readings": [[p.steps, p.seconds] for p in run.points]}
            for part in parts
            for run in part.runs
        ],
    }


def times_markdown(found: Mapping[str, Any]) -> str:
    """A markdown_table for each task."""
    tasks = dict.fromkeys(row["task"] for row in found["summary"])
    tables = [_table(task, [r for r in found["summary"] if r["task"] == task]) for task in tasks]
    return "\n\n".join(["# Times by the clock", *map(markdown_table, tables)]) + "\n"


def times_csv(found: Mapping[str, Any]) -> str:
    """A line for each run, its place in the last column."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*TIME_COLUMNS, "address"])
    writer.writerows(
        [run[column] for column in (*TIME_COLUMNS, "address")] for run in found["runs"]
    )
    return file.getvalue()


def _table(task: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        task,
        ["optimizer", "seconds to target", "ms per step", "runs"],
        [
            [
                row["name"] + ROLES.get(row["role"], ""),
                _spread(row["seconds_to_target"], 1),
                _spread(row["seconds_per_step"], 1000),
                str(row["n"]),
            ]
            for row in rows
        ],
        [
            "Medians over the seeds, with 95 % intervals where there are six seeds; seconds of "
            "training, validations not counted. Runs that shared the processor with others took "
            "longer than they would have alone."
        ],
    )


def _spread(of: Mapping[str, Any], times: float) -> str:
    def text(value: float | None) -> str:
        scaled = None if value is None else value * times
        return NOT_REACHED if count(scaled) == NOT_REACHED else number(scaled, 3)

    between = "" if of["low"] is None else f" [{text(of['low'])}, {text(of['high'])}]"
    return text(of["value"]) + between


_MEASURES: dict[str, Callable[[Measured], float]] = {
    "seconds_to_target": lambda run: run.seconds_to_target,
    "seconds_per_step": lambda run: run.seconds / run.updates if run.updates else nan,
}
