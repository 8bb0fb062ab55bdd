"""Tables of runs for the console: what came of each, and what a run did step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from scratchopt.config.fields import UserError
from scratchopt.lightning.trajectory import RecordLayout, parameter_names, read_records
from scratchopt.runs.directory import Run, has_one_value

ALWAYS = ("task.start", "optimizer.lr", "optimizer.momentum")  # what tells the article's rows apart
MEASURES = ("angle", "gradnorm", "gradnorm_clipped", "update_ratio", "velocity", "cost")
MEASURES += ("lr", "momentum")  # of the last step; the settings have columns of these names
FEW = 4  # parameters that have room in a row


def outcome_table(runs: Sequence[Run]) -> str:
    """Makes an aligned table of what came of some runs, as `outcome_rows` has it."""
    return _align(outcome_rows(runs))


def outcome_rows(runs: Sequence[Run]) -> list[list[str]]:
    """Makes the head of a table, and a row for each run: its settings, status, cost and metrics.

    The settings are the optimizer, where it started, its lr and momentum, and what else differs
    between the runs. `evaluations` counts gradients; `cost` stands beside it where products with a
    curvature were counted too.
    """
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    shown = [key for key in keys if key in ("optimizer", *ALWAYS) or not has_one_value(key, runs)]
    rows = [_outcome_row(run, shown) for run in runs]
    columns = dict.fromkeys(column for row in rows for column in row)
    kept = [column for column in columns if any(row.get(column) for row in rows)]
    return [kept, *([row.get(column, "") for column in kept] for row in rows)]


def outcome_notes(runs: Sequence[Run]) -> list[str]:
    """Says, in lines beneath the table, which criterion its "converged" and "finished" are of."""
    notes = []
    for run in runs:
        if run.result is None or run.result.status not in ("converged", "finished"):
            continue
        why = run.result.ending.partition(";")[0]
        if "tolerance" in why:
            point = (
                " (not θ where a method looks ahead)" if run.result.status == "converged" else ""
            )
            notes.append(f"{run.result.status}: {why}{point}")
    return list(dict.fromkeys(notes))


def step_table(run: Run, every: int) -> str:
    """Makes a table with a row for each `every`th step of a run, and for its end.

    A row has θ before the step, the lookahead point where an exact NAG takes its gradient, the loss
    there, which is a batch's where there are batches, and the gradient. Of more than four
    parameters it has the gradient's norm alone, as it has without records of the path.

    Raises:
        UserError: records that are damaged.
    """
    recorded = _read_small_path(run)
    columns = _log_columns(run) if recorded is None else _path_columns(run, *recorded)
    steps = columns["step"]
    chosen = [i for i, step in enumerate(steps) if step % every == 0 or i == len(steps) - 1]
    rows = [[_format(name, values[i]) for name, values in columns.items()] for i in chosen]
    return _align([list(columns), *rows])


def _log_columns(run: Run) -> dict[str, np.ndarray]:
    """The columns of a run without records of few parameters."""
    steps = np.array([step for step, _ in run.history.get("train/loss", ())])
    tags = ("loss", "gradnorm", "velocity")
    return {"step": steps} | {tag: _read_logged(run, tag, steps) for tag in tags}


def _path_columns(run: Run, layout: RecordLayout, records: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a run whose every parameter has room in a row."""
    names, steps = parameter_names(layout), records["step"].astype(int)
    theta, point, gradient = (
        np.asarray(records[field], float) for field in ("parameters", "point", "gradient")
    )
    columns = {"step": steps} | dict(zip(names, theta.T, strict=True))
    if (np.isfinite(point) & (point != theta)).any():
        columns |= {f"lookahead {name}": x for name, x in zip(names, point.T, strict=True)}
    columns["loss"] = _read_logged(run, "loss", steps)
    return columns | {f"d/d{name}": x for name, x in zip(names, gradient.T, strict=True)}


def _read_logged(run: Run, tag: str, steps: np.ndarray) -> np.ndarray:
    logged = dict(run.history.get(f"train/{tag}", ()))
    return np.array([logged.get(int(step), np.nan) for step in steps])


def _outcome_row(run: Run, shown: Iterable[str]) -> dict[str, str]:
    row = {key.rpartition(".")[2]: _as_words(run.settings.get(key)) for key in shown}
    if run.result is None:
        return row | {"status": "not ended"}
    result = run.result
    row |= {"status": result.status, "updates": f"{result.updates:,}"}
    row["evaluations"] = f"{result.evaluations:,}"
    if result.cost != result.evaluations:
        row["cost"] = f"{result.cost:,.0f}"
    for tag, value in sorted(result.metrics.items()):
        stage, _, name = tag.partition("/")
        if stage != "train" or not name.startswith(MEASURES):
            row[name if stage == "train" else tag] = f"{value:.6g}"
    return row


def _as_words(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _read_small_path(run: Run) -> tuple[RecordLayout, np.ndarray] | None:
    """Reads the records of a path of few parameters, with gradients; None where there are none."""
    try:
        layout, records = read_records(run.directory / "path")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{error}; move it away, and the log's rows are printed") from error
    few = layout.size <= FEW and "gradient" in layout.fields
    return (layout, records) if few and len(records) else None


def _format(name: str, value: float) -> str:
    """Formats a number to the digits that it has: nine if recorded, six of the log's float32."""
    if np.isnan(value):
        return ""
    if name == "step":
        return f"{value:,.0f}"
    return f"{value:.6g}" if name in ("loss", "gradnorm", "velocity") else f"{value:.9g}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    """Aligns columns: words to the left, as their heads are, and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = [not any(_is_number(cell) for cell in column[1:]) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if words else cell.rjust(width)
            for cell, width, words in zip(row, widths, left, strict=True)
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", ""))
    except ValueError:
        return False
    return True
