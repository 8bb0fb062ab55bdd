"""Learning curves: the metric over what it has cost."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.compare.canvas import canvas, named, sign
from scratchopt.compare.scales import cost_scale, metric_scale
from scratchopt.pictures.style import DRAWABLE, GREY
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEYS = 6  # markers on a line


def curves_chart(task: Mapping[str, Any], look: Mapping[str, LineStyle]) -> Figure | None:
    """The median of the compared runs in a band between their quartiles; the target dashed.

    Args:
        task: of the report.
        look: of each optimizer.
    """
    curves = {
        entry["name"]: entry["tuned"]["curve"]
        for entry in task["entries"]
        if entry["tuned"] and any(abs(x) < DRAWABLE for x in entry["tuned"]["curve"]["median"])
    }
    if not curves:
        return None
    objective = task["objective"]
    target = objective["target"]
    handles = [named(look[name], name) for name in curves]
    if target is not None:
        handles.append(sign(f"target {target:g}", linestyle=(0, (4, 3)), linewidth=1.2))
    title = f"{task['task']}: {objective['metric']}, medians over the seeds"
    figure, (axes,) = canvas(title, handles, [3.1])
    cost_scale(axes, [curve["cost"][-1] for curve in curves.values()])
    metric_scale(axes, [*_seen(curves, objective["mode"]), target or np.nan], objective["mode"])
    for name, curve in curves.items():
        _draw(axes, curve, look[name])
    if target is not None:
        axes.axhline(target, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1.5)
    axes.set_xlabel("gradient evaluations")
    axes.set_ylabel(objective["metric"])
    return figure


def _draw(axes: Any, curve: Mapping[str, Any], look: LineStyle) -> None:
    cost, low, median, high = (np.array(curve[k]) for k in ("cost", "low", "median", "high"))
    drawn = np.abs(median) < DRAWABLE
    cost, low, median, high = cost[drawn], low[drawn], median[drawn], high[drawn]
    bottom, top = axes.get_ylim()
    axes.fill_between(
        cost,
        np.clip(low, bottom, top),
        np.clip(high, bottom, top),
        color=look.color,
        alpha=0.16,
        linewidth=0,
    )
    every = max(1, len(cost) // _KEYS)
    axes.plot(cost, median, **look.kwargs(markevery=(every // 2, every)))


def _seen(curves: Mapping[str, Mapping[str, Any]], mode: str) -> list[float]:
    """Values that the y axis must hold: no worse than the worst of the first medians."""
    firsts = [next(x for x in c["median"] if abs(x) < DRAWABLE) for c in curves.values()]
    worst = min(firsts) if mode == "max" else max(firsts)
    least, most = (worst, inf) if mode == "max" else (-inf, worst)
    return [
        x
        for curve in curves.values()
        for band in ("low", "median", "high")
        for x in curve[band]
        if least <= x <= most
    ]
