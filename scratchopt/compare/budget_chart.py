"""What a budget buys: the expected best of k trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scratchopt.compare.canvas import canvas, named
from scratchopt.compare.scales import cost_scale, metric_scale
from scratchopt.pictures.style import DRAWABLE
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def budget_chart(task: Mapping[str, Any], look: Mapping[str, LineStyle]) -> Figure | None:
    """Over k the cost of the target above, and beneath the metric at the end.

    A line begins where there is a number: where k trials cannot all come to nothing.

    Args:
        task: of the report.
        look: of each optimizer.
    """
    from matplotlib.ticker import MaxNLocator

    lines = {of: _lines(task, of) for of in ("cost", "metric")}
    lines = {of: found for of, found in lines.items() if found}
    if not lines:
        return None
    names = [e["name"] for e in task["entries"] if any(e["name"] in own for own in lines.values())]
    title = f"{task['task']}: expected best of k trials"
    figure, panels = canvas(title, [named(look[name], name) for name in names], [2.2] * len(lines))
    for axes, (of, found) in zip(panels, lines.items(), strict=True):
        values = [value for points in found.values() for _, value in points]
        if of == "cost":
            cost_scale(axes, values, "y")
            axes.set_ylabel("evaluations to target")
        else:
            metric_scale(axes, values, task["objective"]["mode"])
            axes.set_ylabel(task["objective"]["metric"])
        for name, points in found.items():
            axes.plot(*zip(*points, strict=True), **look[name].kwargs())
    most = max(k for found in lines.values() for points in found.values() for k, _ in points)
    panels[-1].set_xlim(0.7, most + 0.3)
    panels[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    panels[-1].set_xlabel("k, trials")
    return figure


def _lines(task: Mapping[str, Any], of: str) -> dict[str, list[tuple[int, float]]]:
    found = {
        entry["name"]: [(k, x) for k, x in entry["expected_best"][of] if abs(x) < DRAWABLE]
        for entry in task["entries"]
    }
    return {name: points for name, points in found.items() if points}
