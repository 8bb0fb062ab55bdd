"""The chart of the learning curves: the metric over what it has cost."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.compare.charts.canvas import (
    make_canvas,
    make_mark_handle,
    make_optimizer_handle,
    set_cost_scale,
    set_metric_scale,
)
from scratchopt.compare.report import TaskReport
from scratchopt.compare.summary import LearningCurve
from scratchopt.pictures.style import DRAWABLE, GREY
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEYS = 6  # markers on a line


def draw_curves_chart(task: TaskReport, styles: Mapping[str, LineStyle]) -> Figure | None:
    """Draws the runs' median in a band between their quartiles; the target dashed.

    Args:
        task: of the report.
        styles: of the optimizers' lines.
    """
    curves = {
        entry.name: entry.tuned.curve
        for entry in task.entries
        if entry.tuned and any(abs(x) < DRAWABLE for x in entry.tuned.curve.median)
    }
    if not curves:
        return None
    objective = task.objective
    target = objective.target
    handles = [make_optimizer_handle(styles[name], name) for name in curves]
    if target is not None:
        handles.append(make_mark_handle(f"target {target:g}", linestyle=(0, (4, 3)), linewidth=1.2))
    title = f"{task.task}: {objective.metric}, medians over the seeds"
    figure, (axes,) = make_canvas(title, handles, [3.1])
    set_cost_scale(axes, [curve.cost[-1] for curve in curves.values()])
    set_metric_scale(
        axes,
        [*_list_visible_values(curves, objective.mode), target or np.nan],
        objective.mode,
    )
    for name, curve in curves.items():
        _draw_curve(axes, curve, styles[name])
    if target is not None:
        axes.axhline(target, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1.5)
    axes.set_xlabel("gradient evaluations")
    axes.set_ylabel(objective.metric)
    return figure


def _draw_curve(axes: Any, curve: LearningCurve, style: LineStyle) -> None:
    cost, low, median, high = map(np.array, (curve.cost, curve.low, curve.median, curve.high))
    drawn = np.abs(median) < DRAWABLE
    cost, low, median, high = cost[drawn], low[drawn], median[drawn], high[drawn]
    bottom, top = axes.get_ylim()
    axes.fill_between(
        cost,
        np.clip(low, bottom, top),
        np.clip(high, bottom, top),
        color=style.color,
        alpha=0.16,
        linewidth=0,
    )
    every = max(1, len(cost) // _KEYS)
    axes.plot(cost, median, **style.kwargs(markevery=(every // 2, every)))


def _list_visible_values(curves: Mapping[str, LearningCurve], mode: str) -> list[float]:
    """Lists what the y axis must hold: values no worse than the worst of the first medians."""
    firsts = [next(x for x in curve.median if abs(x) < DRAWABLE) for curve in curves.values()]
    worst = min(firsts) if mode == "max" else max(firsts)
    least, most = (worst, inf) if mode == "max" else (-inf, worst)
    return [
        x
        for curve in curves.values()
        for line in (curve.low, curve.median, curve.high)
        for x in line
        if least <= x <= most
    ]
