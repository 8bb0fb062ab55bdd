"""The files of a report, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from scratchopt.atomic_write import atomic_write
from scratchopt.compare.charts import draw_charts
from scratchopt.compare.comparison import Comparison, RunSet
from scratchopt.compare.formatting import NOT_REACHED, format_count, format_number
from scratchopt.compare.render import render_markdown, render_markdown_table, render_page
from scratchopt.compare.report import Report, make_report
from scratchopt.compare.statistics import Interval, median_interval
from scratchopt.compare.tables import ROLES, Table
from scratchopt.pictures.style import save

RUN_COLUMNS = (
    *("task", "name", "role", "optimizer", "seed", "status", "cost_to_target", "steps_to_target"),
    *("more_than", "final", "best", "train_loss", "updates", "cost", "memory", "error", "address"),
)
TIME_COLUMNS = (
    *("task", "name", "role", "seed", "seconds", "seconds_to_target", "seconds_per_step"),
    "address",
)


@dataclass(frozen=True)
class Times:
    """The times by the clock of the runs that have the same name and role on a task.

    Args:
        task: name of the choice in conf/task.
        name: of the optimizer or of the group.
        role: tuned or untuned.
        n: how many runs.
        seconds_to_target: the median.
        seconds_per_step: the median.
    """

    task: str
    name: str
    role: str
    n: int
    seconds_to_target: Interval
    seconds_per_step: Interval


def write_report(comparison: Comparison, directory: Path) -> Report:
    """Writes all files of a comparison.

    `report.md`, `report.html`, `report.json`, `runs.csv` and `figures/` are always the same bytes
    of the same runs, whatever the machine and the store. `times.md`, `times.json` and `times.csv`
    are not: all that was measured by the clock is in them.
    """
    report = make_report(comparison)
    charts = draw_charts(report)
    for name, figure in charts.items():
        save(figure, directory / "figures" / name)
    svgs = {name: (directory / "figures" / f"{name}.svg").read_text("utf-8") for name in charts}
    runs, timed_runs = _describe_runs(report), _describe_times(report.run_sets)
    content = {field.name: getattr(report, field.name) for field in fields(report)}
    del content["run_sets"]
    times = summarize_times(report.run_sets)
    for name, text in {
        "report.md": render_markdown(report, charts),
        "report.html": render_page(report, svgs),
        "report.json": dump_json(content | {"runs": runs}),
        "runs.csv": _format_runs_csv(runs),
        "times.md": _format_times_markdown(times),
        "times.json": dump_json({"summary": times, "runs": timed_runs}),
        "times.csv": _format_csv(
            TIME_COLUMNS, ([run[column] for column in TIME_COLUMNS] for run in timed_runs)
        ),
    }.items():
        atomic_write(directory / name, text)
    return report


def dump_json(value: Any) -> str:
    """Dumps as JSON; numbers not finite are the strings inf, -inf and nan, which float() reads."""
    return json.dumps(_plain(value), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def summarize_times(run_sets: Iterable[RunSet]) -> list[Times]:
    """Summarizes the times of all runs that are no trials."""
    return [
        Times(
            *(run_set.task, run_set.name, run_set.role, len(run_set.runs)),
            median_interval([run.seconds_to_target for run in run_set.runs]),
            median_interval([run.seconds_per_step for run in run_set.runs]),
        )
        for run_set in run_sets
        if run_set.role != "trials" and run_set.runs
    ]


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value


def _describe_runs(report: Report) -> list[dict[str, Any]]:
    """Describes each run by all but its times; of runs found somewhere, the place is no part."""
    return [
        {
            "task": run_set.task,
            "name": run_set.name,
            "role": run_set.role,
            "address": run.address if report.is_tuned else None,
            "optimizer": run.result.optimizer,
            "settings": run.settings,
            "seed": run.result.seed,
            "status": run.result.status,
            "cost_to_target": run.cost_to_target,
            "steps_to_target": run.steps_to_target,
            "more_than": run.more_than or None,
            "final": run.final(run_set.objective),
            "best": run.best(run_set.objective),
            "train_loss": run.train_loss,
            "test": run.test,
            "updates": run.result.updates,
            "cost": run.result.cost,
            "memory": run.memory,
            "error": run.result.error,
            "versions": run.result.versions,
            "readings": [[r.steps, r.cost, r.value] for r in run.readings],
        }
        for run_set in report.run_sets
        for run in run_set.runs
    ]


def _describe_times(run_sets: Iterable[RunSet]) -> list[dict[str, Any]]:
    """Describes each run by its times, and says where it lies."""
    return [
        {
            "task": run_set.task,
            "name": run_set.name,
            "role": run_set.role,
            "seed": run.result.seed,
            "seconds": run.result.training_seconds,
            "seconds_to_target": run.seconds_to_target,
            "seconds_per_step": run.seconds_per_step,
            "address": run.address,
            "readings": [[r.steps, r.seconds] for r in run.readings],
        }
        for run_set in run_sets
        for run in run_set.runs
    ]


def _format_runs_csv(runs: Sequence[Mapping[str, Any]]) -> str:
    """Formats a line for each run: its settings, how it ended, its test metrics, its versions."""
    nested = {
        kind: sorted({key for run in runs for key in run[kind]})
        for kind in ("settings", "test", "versions")
    }
    head = [*RUN_COLUMNS, *(key for keys in nested.values() for key in keys)]
    rows = (
        [run[column] for column in RUN_COLUMNS]
        + [run[kind].get(key) for kind, keys in nested.items() for key in keys]
        for run in runs
    )
    return _format_csv(head, rows)


def _format_csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)  # None is written as nothing
    return file.getvalue()


def _format_times_markdown(times: Sequence[Times]) -> str:
    """Formats a table for each task."""
    tasks = dict.fromkeys(row.task for row in times)
    tables = [_make_times_table(task, [row for row in times if row.task == task]) for task in tasks]
    return "\n\n".join(["# Times by the clock", *map(render_markdown_table, tables)]) + "\n"


def _make_times_table(task: str, times: Sequence[Times]) -> Table:
    return Table(
        task,
        ["optimizer", "seconds to target", "ms per step", "runs"],
        [
            [
                row.name + ROLES[row.role],
                _format_seconds(row.seconds_to_target, 1),
                _format_seconds(row.seconds_per_step, 1000),
                str(row.n),
            ]
            for row in times
        ],
        [
            "Medians over the seeds, with 95 % intervals where there are six seeds; seconds of "
            "training, validations not counted. Runs that shared the processor with others took "
            "longer than they would have alone."
        ],
    )


def _format_seconds(seconds: Interval, unit: float) -> str:
    def text(value: float | None) -> str:
        scaled = None if value is None else value * unit
        return NOT_REACHED if format_count(scaled) == NOT_REACHED else format_number(scaled, 3)

    ends = "" if seconds.low is None else f" [{text(seconds.low)}, {text(seconds.high)}]"
    return text(seconds.value) + ends
