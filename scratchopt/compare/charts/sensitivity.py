"""The chart of what the lr decides: how each trial ended, over the lr that it had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.compare.charts.canvas import (
    make_arrow,
    make_canvas,
    make_mark_handle,
    make_optimizer_handle,
    set_cost_scale,
    set_metric_scale,
    shorten,
)
from scratchopt.compare.comparison import RunSet
from scratchopt.compare.formatting import format_number
from scratchopt.compare.report import Entry, TaskReport
from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.trials import LR, Trial, group_by_settings
from scratchopt.pictures.style import DRAWABLE
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIVERGED: dict[str, Any] = {"marker": "X", "markersize": 8, "markeredgecolor": "white"}
MISSED: dict[str, Any] = {"marker": "^", "markersize": 6.5, "markerfacecolor": "white"}
CHOSEN: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "mew": 1.6}
DEFAULT: dict[str, Any] = {"marker": 6, "markersize": 8}  # a triangle that stands on the axis
_ROW = 0.18  # inches between the marks of two optimizers


@dataclass(frozen=True)
class _Quantity:
    """A quantity that is drawn over the lr.

    Args:
        read: gives it of a run.
        best: min or max.
        height: of its axes in inches, without the room for marks.
        stops: true if it is a cost, of which a stopped run is known to need more.
    """

    read: Callable[[ScoredRun], float]
    best: Callable[[Iterable[float]], float]
    height: float
    stops: bool = False

    def value(self, run: ScoredRun) -> float:
        """The number to draw of a run; ∞ where there is none."""
        value = self.read(run)
        return inf if run.failed or value != value else value

    def is_missing(self, run: ScoredRun) -> bool:
        """Tells whether a run ended well, but without a number."""
        return not run.failed and not run.stopped and not isfinite(self.read(run))


def draw_sensitivity_chart(
    task: TaskReport, run_sets: Sequence[RunSet], styles: Mapping[str, LineStyle]
) -> Figure | None:
    """Draws the cost of the target above, the metric at the end beneath, and marks for neither.

    Where runs ended at the target, and some reached it, the metric says nothing and is left out.

    A dot is a trial; the line goes through the medians of those with the same settings, the best
    ones at each lr. A ring is around the chosen settings, and a triangle beneath the default lr.

    Args:
        task: of the report.
        run_sets: the runs on the task.
        styles: of the optimizers' lines.
    """
    trials = {
        runs.name: [run for run in runs.runs if run.settings.get(LR, 0) > 0]
        for runs in run_sets
        if runs.role == "trials"
    }
    trials = {name: runs for name, runs in trials.items() if runs}
    everything = [run for runs in trials.values() for run in runs]
    if not everything:
        return None
    objective = task.objective
    cost = _Quantity(lambda run: run.cost_to_target, min, 2.0, stops=True)
    costs = [run.cost_to_target for run in everything if isfinite(run.cost_to_target)]
    metric = _Quantity(
        lambda run: run.final(objective),
        max if objective.mode == "max" else min,
        2.3 if costs else 2.8,
    )
    quantities = [cost, metric] if costs else [metric]
    if costs and task.until == "target":
        quantities = [cost]
    room = _ROW * (len(trials) + 0.5)
    handles = [make_optimizer_handle(styles[name], shorten(name, 30)) for name in trials]
    figure, panels = make_canvas(
        f"{task.task}: how the trials ended, over their lr",
        [*handles, *_make_mark_handles(everything, cost if costs else None)],
        [quantity.height + room for quantity in quantities],
    )
    entries = {entry.name: entry for entry in task.entries}
    for axes, quantity in zip(panels, quantities, strict=True):
        height = quantity.height + room
        if quantity is metric:
            set_metric_scale(axes, [metric.read(run) for run in everything], objective.mode)
            axes.set_ylabel(objective.metric)
        else:
            set_cost_scale(axes, [*costs, *(r.more_than for r in everything if r.stopped)], "y")
            axes.set_ylabel("evaluations to target")
        if any(run.failed or quantity.is_missing(run) for run in everything):
            _add_margin_of_marks(axes, 1 - room / height)
        for row, (name, runs) in enumerate(trials.items()):
            above = 1 - _ROW * (row + 0.75) / height
            _draw_trials(axes, runs, quantity, styles[name], above, entries[name])
        if quantity.stops:
            _mark_stopped(axes, [(runs, styles[name]) for name, runs in trials.items()])
        _mark_defaults(axes, [(entries[name].default.get(LR), styles[name]) for name in trials])
    _set_lr_axis(panels[-1], [run.settings[LR] for run in everything])
    return figure


def _draw_trials(
    axes: Axes,
    runs: Sequence[ScoredRun],
    quantity: _Quantity,
    style: LineStyle,
    above: float,
    entry: Entry,
) -> None:
    """Draws dots, their line, a ring around the chosen settings, and marks above.

    Args:
        axes: whose y axis has its ends.
        runs: the optimizer's trials.
        quantity: that is drawn of them.
        style: of the optimizer's lines.
        above: the part of the height at which the marks stand.
        entry: of the optimizer in the report.
    """
    medians = {
        trial: median(map(quantity.value, same)) for trial, same in group_by_settings(runs).items()
    }
    line: dict[float, list[float]] = {run.settings[LR]: [] for run in runs}
    for trial, middle in medians.items():
        if abs(middle) < DRAWABLE:
            line[trial.settings[LR]].append(middle)
    lrs = sorted(line)
    bests = [quantity.best(line[lr]) if line[lr] else np.nan for lr in lrs]
    axes.plot(lrs, bests, **style.kwargs(marker=None))
    points = [(run.settings[LR], quantity.value(run)) for run in runs]
    dots = [point for point in points if abs(point[1]) < DRAWABLE]
    axes.plot(*np.array(dots).reshape(-1, 2).T, **style.kwargs(linestyle="none"))
    plain: dict[str, Any] = {"linestyle": "none", "color": style.color}
    on_top = plain | {"transform": axes.get_xaxis_transform(), "clip_on": False}
    diverged = [run.settings[LR] for run in runs if run.failed]
    missing = [run.settings[LR] for run in runs if quantity.is_missing(run)]
    axes.plot(diverged, [above] * len(diverged), **(on_top | DIVERGED))
    axes.plot(missing, [above] * len(missing), **(on_top | MISSED))
    if entry.chosen:
        value = medians.get(Trial.from_settings(entry.chosen), inf)
        if abs(value) < DRAWABLE:
            axes.plot([entry.chosen[LR]], [value], **(plain | CHOSEN))


def _make_mark_handles(runs: Sequence[ScoredRun], cost: _Quantity | None) -> list[Any]:
    """Makes the entries of the legend for the marks that are there."""
    handles = []
    if any(run.failed for run in runs):
        handles.append(make_mark_handle("diverged or failed", **DIVERGED))
    if cost and any(map(cost.is_missing, runs)):
        handles.append(make_mark_handle("target not reached", **MISSED))
    if cost and any(run.stopped for run in runs):
        handles.append(make_mark_handle("stopped: needs more", **make_arrow(0, 1)))
    ring = CHOSEN | {"markersize": 9}
    return [
        *handles,
        make_mark_handle("chosen lr", **ring),
        make_mark_handle("default lr", **DEFAULT),
    ]


def _add_margin_of_marks(axes: Axes, top: float) -> None:
    """Lets what is drawn end at the part `top` of the height; above it is grey."""
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(np.array(axes.get_ylim()))
    ends = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if ends[0] <= tick <= ends[1]])
    highest = float(transform.inverted().transform(low + (high - low) / top))
    axes.set_ylim(ends[0], highest)
    axes.axhspan(ends[1], highest, color="#E4E4E4", alpha=0.45, linewidth=0)


def _mark_defaults(axes: Axes, marks: Sequence[tuple[float | None, LineStyle]]) -> None:
    """Marks the default lrs on the axis; side by side, where several optimizers have the same."""
    for lr in dict.fromkeys(lr for lr, _ in marks if lr):
        same = [style for default, style in marks if default == lr]
        for style, beside in zip(same, _shift_apart(axes, len(same)), strict=True):
            where: dict[str, Any] = {"transform": axes.get_xaxis_transform() + beside}
            axes.plot([lr], [0], color=style.color, clip_on=False, **DEFAULT, **where)


def _mark_stopped(axes: Axes, trials: Sequence[tuple[Sequence[ScoredRun], LineStyle]]) -> None:
    """Marks where trials were stopped; side by side, where several optimizers' were at one place.

    The best of two optimizers often cost the same, and their lrs are of the same grid.
    """
    places: dict[tuple[float, float], list[LineStyle]] = {}
    for runs, style in trials:
        for place in dict.fromkeys(
            (run.settings[LR], run.more_than) for run in runs if run.stopped
        ):
            places.setdefault(place, []).append(style)
    for (lr, cost), styles in places.items():
        for style, beside in zip(styles, _shift_apart(axes, len(styles)), strict=True):
            where: dict[str, Any] = {"transform": axes.transData + beside, "linestyle": "none"}
            axes.plot([lr], [cost], color=style.color, **make_arrow(0, 1), **where)


def _shift_apart(axes: Axes, n: int) -> list[Any]:
    """Makes transforms that set n marks of one place side by side."""
    from matplotlib.transforms import ScaledTranslation

    scale = axes.figure.dpi_scale_trans
    return [ScaledTranslation(0.11 * (i - (n - 1) / 2), 0, scale) for i in range(n)]


def _set_lr_axis(axes: Axes, lrs: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(lrs), max(lrs)
    room = max((high / low) ** 0.04, 1.2)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    few = high / low < 300
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if few else (1,), numticks=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: format_number(x)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("lr")
