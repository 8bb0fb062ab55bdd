"""What a budget buys: the expected best of k trials."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from scripts.comparing.canvas import canvas, named
from scripts.comparing.digits import target_of
from scripts.comparing.scales import cost_scale, metric_scale
from scripts.plotting.looks import Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def budget_chart(task: Mapping[str, Any], decide: str, look: Mapping[str, Look]) -> Figure | None:
    """A line for each optimizer over k; it begins where there is a number.

    Args:
        task: of the report.
        decide: cost or metric.
        look: of each optimizer.
    """
    from matplotlib.ticker import MaxNLocator

    lines = {
        entry["name"]: [(k, value) for k, value in entry["expected_best"] if isfinite(value)]
        for entry in task["entries"]
        if entry["expected_best"]
    }
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return None
    objective = task["objective"]
    title = f"{task['task']}: expected best of k trials"
    figure, (axes,) = canvas(title, [named(look[name], name) for name in lines], [2.8])
    values = [value for points in lines.values() for _, value in points]
    if decide == "cost":
        cost_scale(axes, values, "y")
        axes.set_ylabel(f"evaluations to {target_of(objective)}", fontsize=10)
    else:
        metric_scale(axes, values, objective["mode"])
        axes.set_ylabel(objective["metric"])
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), **look[name].plot())
    most = max(k for points in lines.values() for k, _ in points)
    axes.set_xlim(1 - 0.03 * most, most * 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("k, trials")
    return figure
