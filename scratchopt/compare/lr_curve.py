"""One optimizer's trials over their lr, and the marks of what has no value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.compare.measured import FAILURES
from scratchopt.compare.ranking import LR
from scratchopt.pictures.style import DRAWABLE
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIVERGED: dict[str, Any] = {"marker": "X", "markersize": 8, "markeredgecolor": "white"}
MISSED: dict[str, Any] = {"marker": "^", "markersize": 6.5, "markerfacecolor": "white"}
CHOSEN: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "mew": 1.6}
DEFAULT: dict[str, Any] = {"marker": 6, "markersize": 8}  # a triangle that stands on the axis


def draw(
    axes: Axes,
    runs: Sequence[Mapping[str, Any]],
    key: str,
    best: Callable[[Iterable[float]], float],
    look: LineStyle,
    above: float,
    entry: Mapping[str, Any],
) -> None:
    """Dots, their line, a ring around the chosen settings, and marks above.

    Args:
        axes: whose y axis has its ends.
        runs: the optimizer's trials in the report.
        key: of their number, `cost_to_target` or `final`.
        best: max or min.
        look: of the optimizer.
        above: the part of the height at which the marks stand.
        entry: of the optimizer in the report.
    """
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        alike.setdefault(_same(run["settings"]), []).append(run)
    medians = {which: median(_value(run, key) for run in own) for which, own in alike.items()}
    line: dict[float, list[float]] = {run["settings"][LR]: [] for run in runs}
    for which, own in alike.items():
        if abs(medians[which]) < DRAWABLE:
            line[own[0]["settings"][LR]].append(medians[which])
    lrs = sorted(line)
    axes.plot(
        lrs, [best(line[lr]) if line[lr] else np.nan for lr in lrs], **look.kwargs(marker=None)
    )
    dots = [(run["settings"][LR], run[key]) for run in runs if valued(run, key)]
    axes.plot(*np.array(dots).reshape(-1, 2).T, **look.kwargs(linestyle="none"))
    plain: dict[str, Any] = {"linestyle": "none", "color": look.color}
    on_top = plain | {"transform": axes.get_xaxis_transform(), "clip_on": False}
    diverged = [run["settings"][LR] for run in runs if run["status"] in FAILURES]
    lost = [run["settings"][LR] for run in runs if missed(run, key)]
    axes.plot(diverged, [above] * len(diverged), **(on_top | DIVERGED))
    axes.plot(lost, [above] * len(lost), **(on_top | MISSED))
    chosen = entry["chosen"]
    if chosen and abs(value := medians.get(_same(chosen), np.inf)) < DRAWABLE:
        axes.plot([chosen[LR]], [value], **(plain | CHOSEN))


def valued(run: Mapping[str, Any], key: str) -> bool:
    """Whether there is a number to draw."""
    return abs(_value(run, key)) < DRAWABLE


def missed(run: Mapping[str, Any], key: str) -> bool:
    """Whether it ended well, but without a number."""
    return run["status"] not in FAILURES and not isfinite(run[key])


def _value(run: Mapping[str, Any], key: str) -> float:
    value = run[key]
    return np.inf if run["status"] in FAILURES or value != value else value


def _same(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
