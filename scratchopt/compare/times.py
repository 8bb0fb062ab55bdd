"""What was measured by the clock: apart from the report, for another machine measures otherwise."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import nan
from typing import Any

from scratchopt.compare.formatting import NOT_REACHED, count, number
from scratchopt.compare.render import markdown_table
from scratchopt.compare.runs import Measured, Part
from scratchopt.compare.statistics import median_interval
from scratchopt.compare.table import Table
from scratchopt.compare.tables import ROLES

COLUMNS = ("task", "name", "role", "seed", "seconds", "seconds_to_target", "seconds_per_step")


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
    writer.writerow([*COLUMNS, "address"])
    writer.writerows([run[column] for column in (*COLUMNS, "address")] for run in found["runs"])
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
