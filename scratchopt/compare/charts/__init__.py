"""The charts of a report, in the house style; an optimizer looks the same in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scratchopt.compare.charts.budget import draw_budget_chart, draw_profile_chart
from scratchopt.compare.charts.curves import draw_curves_chart
from scratchopt.compare.charts.sensitivity import draw_sensitivity_chart
from scratchopt.compare.charts.target import draw_target_chart
from scratchopt.compare.report import Report
from scratchopt.pictures.style import house_style
from scratchopt.plots.line_styles import choose_line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@house_style()
def draw_charts(report: Report) -> dict[str, Figure]:
    """Draws all that have something to show, by name: `<task>_target` and so on."""
    names = report.names
    styles = dict(zip(names, choose_line_styles([(name, name) for name in names]), strict=True))
    found: dict[str, Figure | None] = {}
    for task in report.tasks:
        run_sets = report.runs_on(task.task)
        found[f"{task.name}_target"] = draw_target_chart(task, run_sets, styles)
        found[f"{task.name}_curves"] = draw_curves_chart(task, styles)
        found[f"{task.name}_sensitivity"] = draw_sensitivity_chart(task, run_sets, styles)
        found[f"{task.name}_budget"] = draw_budget_chart(task, styles)
    found["profile"] = draw_profile_chart(report.profile, styles)
    return {name: figure for name, figure in found.items() if figure is not None}
