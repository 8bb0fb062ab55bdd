"""The gallery: every picture that some runs give, drawn and written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from math import inf, isfinite
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING

from scratchopt.config.fields import UserError
from scratchopt.pictures.sharpness_figure import sharpness_figures
from scratchopt.pictures.style import save
from scratchopt.plots.grid_figure import grid_figure
from scratchopt.plots.history_figures import history_figures
from scratchopt.plots.oscillation_figure import oscillation_figures
from scratchopt.plots.outcome import compute_outcomes
from scratchopt.plots.paths_figures import paths_figures
from scratchopt.plots.sensitivity_figure import sensitivity_figure
from scratchopt.plots.settings import Setting, group_by_setting
from scratchopt.runs.directory import Run, label_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARP = 4  # runs that have room beside each other
EACH, ALL = 12, 48  # settings of an optimizer, and of all, whose lines and paths have room


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
    settings = group_by_setting(runs)
    shown = _choose_best(settings)
    drawn = [run for setting in shown for run in setting.runs]
    logged = [run for run in drawn if run.history.get("train/loss")]
    for run in drawn if logged else []:
        if not run.history.get("train/loss"):
            _leave_out(run, _explain_emptiness(run))
    if not logged:
        raise UserError(
            f"{drawn[0].directory}: there is nothing to draw; {_explain_emptiness(drawn[0])}"
        )
    few = len(shown) < len(settings)
    note = f", the {len(shown)} best of {len(settings)} settings" if few else ""
    title = _title(runs)
    figures = chain(_outcome_figures(runs, title), _line_figures(logged, title, note, against))
    for name, figure in figures:
        save(figure, output / name)
        yield from (output / f"{name}.png", output / f"{name}.svg")


def _choose_best(settings: Sequence[Setting]) -> list[Setting]:
    """Chooses of each optimizer the best settings by the outcome of their runs, if it has many.

    Where the outcome says nothing, as of runs that have not converged, the last loss decides.
    """
    by_optimizer: dict[str, list[Setting]] = {}
    for setting in settings:
        by_optimizer.setdefault(setting.optimizer, []).append(setting)
    room = max(1, min(EACH, ALL // len(by_optimizer)))
    if all(len(own) <= room for own in by_optimizer.values()):
        return list(settings)
    runs = _find_ended([run for setting in settings for run in setting.runs])
    if not runs:
        return list(settings)
    outcomes = zip(runs, compute_outcomes(runs), strict=True)
    rank = {id(run): (its.rank, _last_loss(run)) for run, its in outcomes}
    ranks = {s: median_low(rank.get(id(run), (inf, inf)) for run in s.runs) for s in settings}
    best = {s for own in by_optimizer.values() for s in sorted(own, key=ranks.__getitem__)[:room]}
    return [setting for setting in settings if setting in best]


def _find_ended(runs: Sequence[Run]) -> list[Run]:
    """The runs that have come to something, be it that they diverged."""
    broken_off = "interrupted", "stopped"
    return [run for run in runs if run.result and run.result.status not in broken_off]


def _last_loss(run: Run) -> float:
    """The last loss of the training, infinite where there is none that is finite."""
    loss = run.result.metrics.get("train/loss", inf) if run.result else inf
    return loss if isfinite(loss) else inf


def _outcome_figures(runs: Sequence[Run], title: str) -> Iterator[tuple[str, Figure]]:
    """Draws what came of all runs, by the numbers that were varied."""
    if ended := _find_ended(runs):
        if figure := grid_figure(ended, title):
            yield "grid", figure
        if figure := sensitivity_figure(ended, title):
            yield "sensitivity", figure


def _line_figures(
    runs: Sequence[Run], title: str, note: str, against: str
) -> Iterator[tuple[str, Figure]]:
    """Draws what runs did step by step."""
    settings = group_by_setting(runs)
    yield from history_figures(settings, title + note, against).items()
    sharp = [run for run in runs if run.history.get("train/sharpness")]
    for run in sharp[SHARP:]:
        _leave_out(run, f"as the picture of the sharpness has room for {SHARP} runs")
    named = zip(label_runs(sharp[:SHARP]), sharp, strict=False)
    yield from sharpness_figures({name: run.history for name, run in named}).items()
    yield from paths_figures(settings, _leave_out, note).items()
    yield from oscillation_figures(settings, title + note, _leave_out).items()


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
