"""The charts of a report, in the house style; an optimizer looks the same in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scratchopt.compare.budget_chart import budget_chart
from scratchopt.compare.curves_chart import curves_chart
from scratchopt.compare.profile_chart import profile_chart
from scratchopt.compare.sensitivity_chart import sensitivity_chart
from scratchopt.compare.target_chart import target_chart
from scratchopt.pictures.style import house_style
from scratchopt.plots.line_styles import choose_line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@house_style()
def charts(report: Mapping[str, Any]) -> dict[str, Figure]:
    """By name, `<task>_target` and so on; without those that have nothing to show.

    Args:
        report: of `scratchopt.compare.report`.
    """
    names = report["names"]
    look = dict(zip(names, choose_line_styles([(name, name) for name in names]), strict=True))
    found: dict[str, Figure | None] = {}
    for task in report["tasks"]:
        runs = [run for run in report["runs"] if run["task"] == task["task"]]
        prefix = task["name"]
        found[f"{prefix}_target"] = target_chart(task, runs, look)
        found[f"{prefix}_curves"] = curves_chart(task, look)
        found[f"{prefix}_sensitivity"] = sensitivity_chart(task, runs, look)
        found[f"{prefix}_budget"] = budget_chart(task, look)
    found["profile"] = profile_chart(report["profile"], look)
    return {name: figure for name, figure in found.items() if figure is not None}
