"""What the lr decides: how each trial ended, over the lr that it had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.pictures.style import DRAWABLE
from scripts.comparing.canvas import canvas, named, shortened, sign
from scripts.comparing.digits import number
from scripts.comparing.scales import cost_scale, metric_scale
from scripts.plotting.looks import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LR = "optimizer.lr"
_ROW = 0.18  # inches between the marks of two optimizers
DIVERGED: dict[str, Any] = {"marker": "X", "markersize": 8, "markeredgecolor": "white"}
MISSED: dict[str, Any] = {"marker": "^", "markersize": 6.5, "markerfacecolor": "white"}
CHOSEN: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "mew": 1.6}
DEFAULT: dict[str, Any] = {"marker": 6, "markersize": 8}  # a triangle that stands on the axis


def sensitivity_chart(
    task: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], look: Mapping[str, Look]
) -> Figure | None:
    """Above the cost of the target, beneath the metric at the end; marks for what has neither.

    A dot is a trial, the line goes through the best at each lr. A ring is around the chosen lr, and
    a triangle beneath the default one.

    Args:
        task: of the report.
        runs: of this task in the report.
        look: of each optimizer.
    """
    trials = {
        entry["name"]: [
            run
            for run in runs
            if run["name"] == entry["name"]
            and run["role"] == "trials"
            and run["settings"].get(LR, 0) > 0
        ]
        for entry in task["entries"]
    }
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
        top = 1 - room / height  # above it, marks of what has no value
        _make_room(axes, top)
        for row, (name, own) in enumerate(trials.items()):
            entry = next(entry for entry in task["entries"] if entry["name"] == name)
            _draw(axes, own, key, mode, look[name], 1 - _ROW * (row + 0.75) / height, entry)
    _lr_axis(panels[-1], [run["settings"][LR] for run in everything])
    figure.align_ylabels(panels)
    return figure


def _draw(
    axes: Axes,
    runs: Sequence[Mapping[str, Any]],
    key: str,
    mode: str,
    look: Look,
    above: float,
    entry: Mapping[str, Any],
) -> None:
    best = max if key == "final" and mode == "max" else min
    lrs = sorted({run["settings"][LR] for run in runs})
    good = {lr: [_value(r, key) for r in runs if r["settings"][LR] == lr] for lr in lrs}
    line = {lr: [v for v in values if abs(v) < DRAWABLE] for lr, values in good.items()}
    best_of = [best(line[lr]) if line[lr] else np.nan for lr in lrs]
    axes.plot(lrs, best_of, **look.plot(marker=None))
    dots = [(lr, value) for lr, values in line.items() for value in values]
    axes.plot(*np.array(dots).reshape(-1, 2).T, **look.plot(linestyle="none"))
    plain: dict[str, Any] = {"linestyle": "none", "color": look.color}
    on_axis = plain | {"transform": axes.get_xaxis_transform(), "clip_on": False}
    for how, at in (
        (DIVERGED, [r["settings"][LR] for r in runs if r["status"] in ("diverged", "failed")]),
        (MISSED, [r["settings"][LR] for r in runs if _missed(r, key)]),
    ):
        axes.plot(at, [above] * len(at), **(on_axis | how))
    if entry["chosen"] and (value := best(line.get(entry["chosen"][LR]) or [np.nan])) == value:
        axes.plot([entry["chosen"][LR]], [value], **(plain | CHOSEN))
    axes.plot([entry["default"][LR]], [0], **(on_axis | DEFAULT))


def _value(run: Mapping[str, Any], key: str) -> float:
    return np.inf if run["status"] in ("diverged", "failed") else run[key]


def _missed(run: Mapping[str, Any], key: str) -> bool:
    return run["status"] not in ("diverged", "failed") and not isfinite(run[key])


def _make_room(axes: Axes, top: float) -> None:
    """Lets what is drawn end at the part `top` of the height; above it is grey."""
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(np.array(axes.get_ylim()))
    ends = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if ends[0] <= tick <= ends[1]])
    highest = float(transform.inverted().transform(low + (high - low) / top))
    axes.set_ylim(ends[0], highest)
    axes.axhspan(ends[1], highest, color="#E4E4E4", alpha=0.45, linewidth=0)


def _legend(
    trials: Mapping[str, Any],
    look: Mapping[str, Look],
    runs: Sequence[Mapping[str, Any]],
    costs: bool,
) -> list[Any]:
    handles = [named(look[name], shortened(name, 30)) for name in trials]
    if any(run["status"] in ("diverged", "failed") for run in runs):
        handles.append(sign("diverged or failed", **DIVERGED))
    if costs and any(_missed(run, "cost_to_target") for run in runs):
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
