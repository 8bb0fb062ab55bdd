"""The chart of what the target has cost each seed: a dot a run, and their medians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import median
from textwrap import wrap
from typing import TYPE_CHECKING

from scratchopt.compare.charts.canvas import (
    WIDTH,
    make_arrow,
    make_canvas,
    make_mark_handle,
    set_cost_scale,
    shorten,
)
from scratchopt.compare.comparison import RunSet
from scratchopt.compare.formatting import format_target
from scratchopt.compare.report import TaskReport
from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.tables import ROLES
from scratchopt.pictures.style import GREY
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.3  # inches
_LETTERS = 20  # of a name, in a line
_COUNT = 0.85  # inches, for «10 of 10» beside its dot


def draw_target_chart(
    task: TaskReport, run_sets: Sequence[RunSet], styles: Mapping[str, LineStyle]
) -> Figure | None:
    """Draws a row for each optimizer and role; at the right edge those that missed the target.

    Runs that were stopped are an arrow there.

    Args:
        task: of the report.
        run_sets: the runs on the task.
        styles: of the optimizers' lines.
    """
    rows = [
        (runs.name, runs.role, runs.runs) for runs in run_sets if runs.role in ROLES and runs.runs
    ]
    everything = [run for _, _, own in rows for run in own]
    costs = [run.least_cost for run in everything if isfinite(run.least_cost)]
    if not any(run.to_target for run in everything):
        return None
    missed = len(costs) < len(everything)
    handles = [
        make_mark_handle("a run", marker="o"),
        make_mark_handle("median", marker="|", markersize=13, mew=2.5),
    ]
    if any(role == "untuned" for _, role, _ in rows):
        handles.insert(
            1, make_mark_handle("with default settings", marker="o", markerfacecolor="none")
        )
    if any(run.stopped for run in everything):
        handles.append(make_mark_handle("stopped: needs more", **make_arrow(1, 0)))
    names = {name: _break_name(name) for name, _, _ in rows}
    left = 0.3 + 0.08 * max(len(line) for name in names.values() for line in name.split("\n"))
    tall = max(_ROW, 0.34 * any("\n" in name for name in names.values()))
    figure, (axes,) = make_canvas(
        f"{task.task}: evaluations to {format_target(task.objective)}",
        handles,
        [tall * len(rows) + 0.3],
        left,
    )
    set_cost_scale(axes, costs)
    if any(run.stopped for run in everything):
        _add_room_for_arrows(axes)
    edge = _add_margin_of_misses(axes) if missed else 0.0
    first: dict[str, int] = {}
    for y, (name, role, own) in enumerate(rows):
        _draw_row(axes, y, own, styles[name], role == "tuned", edge)
        first.setdefault(name, y)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    labels = [names[name] if first[name] == y else "default" for y, (name, _, _) in enumerate(rows)]
    axes.set_yticks(range(len(rows)), labels)
    axes.tick_params(axis="y", length=0, labelcolor="#222222", labelsize=9)
    axes.grid(visible=False, axis="y")
    for y in list(first.values())[1:]:
        axes.axhline(y - 0.5, color="#E4E4E4", linewidth=0.8)
    axes.set_xlabel("gradient evaluations")
    return figure


def _break_name(name: str) -> str:
    first, *others = wrap(name, _LETTERS, break_on_hyphens=False) or [name]
    return "\n".join([first, shorten(" ".join(others), _LETTERS)] if others else [first])


def _add_room_for_arrows(axes: Axes) -> None:
    low, high = axes.get_xlim()
    further = (
        high * (high / low) ** 0.1 if axes.get_xscale() == "log" else high + 0.1 * (high - low)
    )
    axes.set_xlim(low, further)


def _add_margin_of_misses(axes: Axes) -> float:
    """Makes room at the right for what missed the target; where its dots stand."""
    low, high = axes.get_xlim()
    words = _COUNT / (axes.get_position().width * WIDTH)
    parts = (0.0, 0.07, max(0.24, (0.07 + words) / (1 - words)))
    if axes.get_xscale() == "log":
        line, edge, end = (high * (high / low) ** part for part in parts)
    else:
        line, edge, end = (high + (high - low) * part for part in parts)
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= line])
    axes.set_xlim(low, end)
    axes.axvspan(line, end, color="#E4E4E4", alpha=0.45, linewidth=0)
    axes.text(
        edge,
        1.0,
        "not reached",
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=9,
        color=GREY,
    )
    return edge


def _draw_row(
    axes: Axes, y: int, runs: Sequence[ScoredRun], style: LineStyle, filled: bool, edge: float
) -> None:
    costs = [run.least_cost for run in runs]
    stopped = [run.more_than for run in runs if run.stopped]
    drawn = sorted(run.cost_to_target for run in runs if run.to_target)
    heights = [y + 0.16 * ((i * 0.618034) % 1 - 0.5) * 2 for i in range(len(drawn))]
    lost = len(costs) - len(drawn) - len(stopped)
    axes.plot(
        [*drawn, edge] if lost else drawn,  # of those that missed one dot, and how many they are
        [*heights, y] if lost else heights,
        linestyle="none",
        marker="o",
        markersize=5,
        alpha=0.75,
        markeredgewidth=1.0,
        markeredgecolor=style.color,
        markerfacecolor=style.color if filled else "none",
    )
    middle = median(costs)
    axes.plot(
        [middle if isfinite(middle) else edge],
        [y],
        marker="|",
        markersize=15,
        mew=2.5,
        color=style.color,
    )
    for cost in dict.fromkeys(stopped):  # one arrow, and how many runs it stands for
        axes.plot([cost], [y], linestyle="none", color=style.color, **make_arrow(1, 0))
    for count, x in ((len(stopped), max(stopped, default=0.0)), (lost, edge)):
        if count:
            axes.annotate(
                f"{count} of {len(costs)}",
                (x, y),
                (14, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=GREY,
            )
