"""The gallery: every picture that some runs give, drawn and written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scratchopt.config.fields import UserError
from scratchopt.pictures.sharpness_figure import sharpness_figures
from scratchopt.pictures.style import save
from scratchopt.plots.history_figures import history_figures
from scratchopt.plots.oscillation_figure import oscillation_figures
from scratchopt.plots.paths_figures import paths_figures
from scratchopt.plots.sensitivity_figure import sensitivity_figure
from scratchopt.plots.settings import group_by_setting
from scratchopt.runs.directory import Run, label_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARP = 4  # runs that have room beside each other


def write_gallery(runs: Sequence[Run], output: Path, against: str = "steps") -> Iterator[Path]:
    """Writes every picture of some runs; yields the paths, a PNG's and an SVG's for each.

    Args:
        runs: as `find_runs` returns them. Those that have logged nothing yet are left out, and
            standard error says so.
        output: directory of the pictures; it is made.
        against: a key of `scratchopt.plots.x_axis.X_AXES`.

    Raises:
        UserError: runs of several tasks, or of which none has logged anything.
    """
    logged = [run for run in runs if run.history.get("train/loss")]
    for run in runs if logged else []:
        if not run.history.get("train/loss"):
            _leave_out(run, _explain_emptiness(run))
    if not logged:
        raise UserError(
            f"{runs[0].directory}: there is nothing to draw; {_explain_emptiness(runs[0])}"
        )
    for name, figure in _figures(logged, against):
        save(figure, output / name)
        yield from (output / f"{name}.png", output / f"{name}.svg")


def _figures(runs: Sequence[Run], against: str) -> Iterator[tuple[str, Figure]]:
    settings, title = group_by_setting(runs), _title(runs)
    yield from history_figures(settings, title, against).items()
    broken_off = "interrupted", "stopped"
    ended = [run for run in runs if run.result and run.result.status not in broken_off]
    if ended and (figure := sensitivity_figure(ended, title)):
        yield "sensitivity", figure
    sharp = [run for run in runs if run.history.get("train/sharpness")]
    for run in sharp[SHARP:]:
        _leave_out(run, f"as the picture of the sharpness has room for {SHARP} runs")
    named = zip(label_runs(sharp[:SHARP]), sharp, strict=False)
    yield from sharpness_figures({name: run.history for name, run in named}).items()
    yield from paths_figures(settings, _leave_out).items()
    yield from oscillation_figures(settings, title, _leave_out).items()


def _explain_emptiness(run: Run) -> str:
    """Says why a run has logged no loss, and what to do."""
    result = run.result
    if result and result.updates:
        return (
            f"its events are gone or damaged, though result.json knows of {result.updates:,} "
            f"updates: put a copy of them back, or {run.retrain}"
        )
    if result and result.failed:
        return f"it {result.status} before its first step" + (
            f": {result.error}" if result.error else ""
        )
    return (
        "it has logged no loss yet; a run's first write comes after "
        f"log_every={run.config['log_every']} steps"
    )


def _title(runs: Sequence[Run]) -> str:
    """The task, and the function or the optimizer where all have the same."""
    parts = [runs[0].task]
    for key in ("task.function", "optimizer"):
        values = {run.settings.get(key) for run in runs}
        parts += [str(value) for value in values if len(values) == 1 and value]
    return ", ".join(parts)


def _leave_out(run: Run, why: str) -> None:
    print(f"plot.py: {run.directory}: left out, {why}", file=sys.stderr)
