"""Performance profiles over tasks (Dolan & Moré, 2002)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scratchopt.compare.canvas import canvas, named
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def profile_chart(
    profile: Mapping[str, Any] | None, look: Mapping[str, LineStyle]
) -> Figure | None:
    """The share of tasks on which an optimizer costs at most τ times the least.

    Args:
        profile: of the report.
        look: of each optimizer.
    """
    from matplotlib.ticker import PercentFormatter

    if not profile:
        return None
    handles = [named(look[name], name) for name in profile]
    figure, (axes,) = canvas("Over all tasks: share within τ of the best", handles, [2.8])
    for name, of in profile.items():
        axes.plot(*zip(*of["steps"], strict=True), **look[name].kwargs(drawstyle="steps-post"))
    axes.set_ylim(-0.03, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("τ, times the evaluations of the best")
    axes.set_ylabel("share of tasks")
    return figure
