"""A picture of the sharpness of runs, beside their optimizers' limits of stability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scratchopt.pictures.curves import LABELS, History, draw_curve, label_steps, set_log_scale
from scratchopt.pictures.style import BLUE, DRAWABLE, ORANGE, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@house_style()
def sharpness_figures(runs: Mapping[str, History]) -> dict[str, Figure]:
    """Draws `sharpness`, a column a run, by title; no picture where none measured its sharpness.

    From above: the sharpness, and dashed the limit of stability, against the step; the loss, where
    it is known; and the decrease of the loss, as predicted and as it was. That axis is linear near
    zero and logarithmic beyond, on either side.
    """
    runs = {
        title: history
        for title, history in runs.items()
        if _finite_points(history, "train/sharpness").size
    }
    if not runs:
        return {}
    rows = 3 if all(history.get("train/loss") for history in runs.values()) else 2
    width, height = 1.5 + 5.5 * len(runs), 1.2 + 2.1 * rows
    figure, panels = new_figure(rows, len(runs), (width, height), sharex=True)
    figure.subplots_adjust(left=1.05 / width, wspace=0.24)  # for such labels as −0.0001
    for column, (title, history) in enumerate(runs.items()):
        first, *loss, last = panels[column :: len(runs)]
        _draw_sharpness(first, history)
        first.set_title(title)
        for axes in loss:
            draw_curve(axes, history["train/loss"], LABELS["train/loss"])
        _draw_decreases(last, history)
        label_steps(last)
        figure.align_ylabels([first, *loss, last])
    return {"sharpness": figure}


def _draw_sharpness(axes: Axes, history: History) -> None:
    steps, values = _finite_points(history, "train/sharpness")
    axes.plot(steps, values, color=BLUE)
    drawn = [values]
    at, limits = _finite_points(history, "train/sharpness_limit")
    if limits.size:
        same = limits.min() == limits.max()
        label = f"stable below {limits[0]:.3g}" if same else "stable below"
        axes.plot(at, limits, color=ORANGE, linestyle="--", label=label, drawstyle="steps-post")
        drawn.append(limits)
        _draw_legend(axes)
    together = np.concatenate(drawn)
    decades = np.log10(together.max() / together.min()) if (together > 0).all() else 0.0
    if decades > 1.5:
        set_log_scale(axes, decades)
    else:
        axes.set_ylim(bottom=min(0.0, together.min()))
    axes.set_ylabel("sharpness")


def _draw_decreases(axes: Axes, history: History) -> None:
    from matplotlib.ticker import FuncFormatter, SymmetricalLogLocator

    (steps, actual), (at, predicted) = (
        _finite_points(history, f"train/{kind}_decrease") for kind in ("actual", "predicted")
    )
    axes.axhline(0, color="#888888", linewidth=1)
    axes.plot(steps, actual, color=BLUE, label="actual")
    axes.plot(at, predicted, color=ORANGE, linestyle="--", label="predicted")
    sizes = np.abs(np.concatenate([actual, predicted]))
    small = 10 ** np.floor(np.log10(np.median(sizes[sizes > 0]))) if sizes.any() else 1.0
    axes.set_yscale("symlog", linthresh=small)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=small))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.set_ylabel("decrease of the loss")
    _draw_legend(axes)


def _draw_legend(axes: Axes) -> None:
    """Draws the legend above the axes, where no curve is."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0, fontsize=10)


def _finite_points(history: History, tag: str) -> np.ndarray:
    """The finite values of a tag and their steps, as two rows."""
    rows = np.asarray(history.get(tag, ()), dtype=float).reshape(-1, 2)
    return rows[np.abs(rows[:, 1]) < DRAWABLE].T
