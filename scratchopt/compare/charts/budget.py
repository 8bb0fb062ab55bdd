"""The charts of what a budget buys, and of how the optimizers do over several tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from scratchopt.compare.analysis import Profile
from scratchopt.compare.charts.canvas import (
    make_canvas,
    make_optimizer_handle,
    set_cost_scale,
    set_metric_scale,
)
from scratchopt.compare.report import TaskReport
from scratchopt.compare.trials import CRITERIA
from scratchopt.pictures.style import DRAWABLE
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_budget_chart(task: TaskReport, styles: Mapping[str, LineStyle]) -> Figure | None:
    """Draws the expected best of k trials over k: the cost above, the metric at the end beneath.

    A line begins where there is a number: where k trials cannot all come to nothing or be stopped.
    Where runs ended at the target, there is no metric at the end; and no chart, if too many trials
    were stopped for a line.

    Args:
        task: of the report.
        styles: of the optimizers' lines.
    """
    from matplotlib.ticker import MaxNLocator

    lines = {criterion: _find_lines(task, criterion) for criterion in CRITERIA}
    lines = {criterion: found for criterion, found in lines.items() if found}
    if task.until == "target" and any(entry.stopped for entry in task.entries):
        lines.pop("metric", None)
        if all(len(points) == 1 for points in lines.get("cost", {}).values()):
            return None
    if not lines:
        return None
    names = [e.name for e in task.entries if any(e.name in found for found in lines.values())]
    title = f"{task.task}: expected best of k trials"
    figure, panels = make_canvas(
        title, [make_optimizer_handle(styles[name], name) for name in names], [2.2] * len(lines)
    )
    for axes, (criterion, found) in zip(panels, lines.items(), strict=True):
        values = [value for points in found.values() for _, value in points]
        if criterion == "cost":
            set_cost_scale(axes, values, "y")
            axes.set_ylabel("evaluations to target")
        else:
            set_metric_scale(axes, values, task.objective.mode)
            axes.set_ylabel(task.objective.metric)
        for name, points in found.items():
            axes.plot(*zip(*points, strict=True), **styles[name].kwargs())
    most = max(k for found in lines.values() for points in found.values() for k, _ in points)
    panels[-1].set_xlim(0.7, most + 0.3)
    panels[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    panels[-1].set_xlabel("k, trials")
    return figure


def _find_lines(task: TaskReport, criterion: str) -> dict[str, list[tuple[int, float]]]:
    found = {
        entry.name: [
            (k, x)
            for k, x in entry.expected_best[criterion]
            if abs(x) < DRAWABLE and (criterion == "metric" or k >= entry.exact_from)
        ]
        for entry in task.entries
    }
    return {name: points for name, points in found.items() if points}


def draw_profile_chart(
    profiles: Mapping[str, Profile] | None, styles: Mapping[str, LineStyle]
) -> Figure | None:
    """Draws the share of tasks on which an optimizer costs at most τ times the least.

    Args:
        profiles: of the report.
        styles: of the optimizers' lines.
    """
    from matplotlib.ticker import PercentFormatter

    if not profiles:
        return None
    handles = [make_optimizer_handle(styles[name], name) for name in profiles]
    figure, (axes,) = make_canvas("Over all tasks: share within τ of the best", handles, [2.8])
    for name, profile in profiles.items():
        axes.plot(*zip(*profile.steps, strict=True), **styles[name].kwargs(drawstyle="steps-post"))
    axes.set_ylim(-0.03, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("τ, times the evaluations of the best")
    axes.set_ylabel("share of tasks")
    return figure
