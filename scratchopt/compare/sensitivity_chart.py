"""What the lr decides: how each trial ended, over the lr that it had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.compare.canvas import canvas, named, shortened, sign
from scratchopt.compare.digits import number
from scratchopt.compare.lr_curve import CHOSEN, DEFAULT, DIVERGED, MISSED, draw, missed, valued
from scratchopt.compare.measured import FAILURES
from scratchopt.compare.ranking import LR
from scratchopt.compare.scales import cost_scale, metric_scale
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.18  # inches between the marks of two optimizers


def sensitivity_chart(
    task: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], look: Mapping[str, LineStyle]
) -> Figure | None:
    """Above the cost of the target, beneath the metric at the end; marks for what has neither.

    A dot is a trial; the line goes through the medians of those with the same settings, the best
    ones at each lr. A ring is around the chosen settings, and a triangle beneath the default lr.

    Args:
        task: of the report.
        runs: of this task in the report.
        look: of each optimizer.
    """
    swept = [run for run in runs if run["role"] == "trials" and run["settings"].get(LR, 0) > 0]
    entries = {entry["name"]: entry for entry in task["entries"]}
    trials = {name: [run for run in swept if run["name"] == name] for name in entries}
    trials = {name: own for name, own in trials.items() if own}
    everything = [run for own in trials.values() for run in own]
    if not everything:
        return None
    mode = task["objective"]["mode"]
    costs = [run["cost_to_target"] for run in everything if isfinite(run["cost_to_target"])]
    keys = (["cost_to_target"] if costs else []) + ["final"]
    room = _ROW * (len(trials) + 0.5)
    heights = [2.0 + room, 2.3 + room] if costs else [2.8 + room]
    figure, panels = canvas(
        f"{task['task']}: how the trials ended, over their lr",
        _legend(trials, look, everything, bool(costs)),
        heights,
    )
    for axes, key, height in zip(panels, keys, heights, strict=True):
        if key == "final":
            metric_scale(axes, [run[key] for run in everything], mode)
            axes.set_ylabel(task["objective"]["metric"])
        else:
            cost_scale(axes, costs, "y")
            axes.set_ylabel("evaluations to target")
        if not all(valued(run, key) for run in everything):
            _make_room(axes, 1 - room / height)
        for row, (name, own) in enumerate(trials.items()):
            best = max if key == "final" and mode == "max" else min
            above = 1 - _ROW * (row + 0.75) / height
            draw(axes, own, key, best, look[name], above, entries[name])
        _defaults(axes, [(entries[name]["default"].get(LR), look[name]) for name in trials])
    _lr_axis(panels[-1], [run["settings"][LR] for run in everything])
    return figure


def _make_room(axes: Axes, top: float) -> None:
    """Lets what is drawn end at the part `top` of the height; above it is grey."""
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(np.array(axes.get_ylim()))
    ends = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if ends[0] <= tick <= ends[1]])
    highest = float(transform.inverted().transform(low + (high - low) / top))
    axes.set_ylim(ends[0], highest)
    axes.axhspan(ends[1], highest, color="#E4E4E4", alpha=0.45, linewidth=0)


def _defaults(axes: Axes, marks: Sequence[tuple[float | None, LineStyle]]) -> None:
    """On the axis; of several optimizers with the same default lr, side by side."""
    from matplotlib.transforms import ScaledTranslation

    for lr in dict.fromkeys(lr for lr, _ in marks if lr):
        same = [look for its, look in marks if its == lr]
        for i, look in enumerate(same):
            inches = 0.11 * (i - (len(same) - 1) / 2)
            beside = ScaledTranslation(inches, 0, axes.figure.dpi_scale_trans)
            where: dict[str, Any] = {"transform": axes.get_xaxis_transform() + beside}
            axes.plot([lr], [0], color=look.color, clip_on=False, **DEFAULT, **where)


def _legend(
    trials: Mapping[str, Any],
    look: Mapping[str, LineStyle],
    runs: Sequence[Mapping[str, Any]],
    costs: bool,
) -> list[Any]:
    handles = [named(look[name], shortened(name, 30)) for name in trials]
    if any(run["status"] in FAILURES for run in runs):
        handles.append(sign("diverged or failed", **DIVERGED))
    if costs and any(missed(run, "cost_to_target") for run in runs):
        handles.append(sign("target not reached", **MISSED))
    ring = CHOSEN | {"markersize": 9}
    return [*handles, sign("chosen lr", **ring), sign("default lr", **DEFAULT)]


def _lr_axis(axes: Axes, lrs: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(lrs), max(lrs)
    room = max((high / low) ** 0.04, 1.2)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    few = high / low < 300
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if few else (1,), numticks=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: number(x)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("lr")
