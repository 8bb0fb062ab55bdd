"""The files of a report, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from scratchopt.compare.charts import charts
from scratchopt.compare.render import markdown, page
from scratchopt.compare.report import report
from scratchopt.compare.runs import Comparison, parts
from scratchopt.compare.times import times, times_csv, times_markdown
from scratchopt.pictures.style import save
from scratchopt.runs.atomic_write import atomic_write

COLUMNS = (
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
    head = [*COLUMNS, *(key for keys in nested.values() for key in keys)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for run in runs:
        own = [run[column] for column in COLUMNS]
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
