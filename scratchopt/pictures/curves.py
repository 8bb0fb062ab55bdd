"""Curves of any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from scratchopt.pictures.style import BLUE, DRAWABLE, ORANGE, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Mapping[str, Sequence[tuple[int, float]]]
LABELS = {
    "train/loss": "loss",
    "train/gradnorm": "gradnorm ‖g‖",
    "train/velocity": "velocity ‖Δθ‖",
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_curve(
    axes: Axes, series: Sequence[tuple[int, float]] | np.ndarray, label: str, log_from: float = 1.0
) -> None:
    """Draws (step, value) pairs against the step; noisy ones pale, with medians on top.

    Args:
        axes: empty ones.
        series: the pairs. Values that are infinite, NaN or beyond 1e200 are left out, and a dotted
            line stands where the first of them is.
        label: of the y axis.
        log_from: decades. Where no value is negative and the positive ones span more, the scale is
            logarithmic and zeros are left out.
    """
    steps, values = np.asarray(series, dtype=float).reshape(-1, 2).T
    drawn = np.abs(values) < DRAWABLE
    if not drawn.all():
        axes.axvline(steps[~drawn][0], color=ORANGE, linestyle=":", label="diverged")
        axes.legend(loc="upper left")
    steps, values = steps[drawn], values[drawn]
    positive = values > 0
    if positive.any() and (values >= 0).all():
        decades = float(np.ptp(np.log10(values[positive])))
        if decades > log_from:
            set_log_scale(axes, decades)
            steps, values = steps[positive], values[positive]
    pale = is_noisy(values)
    kept = _extremes(values)
    axes.plot(
        steps[kept],
        values[kept],
        color=BLUE,
        alpha=0.3 if pale else 1.0,
        linewidth=0.8 if pale else None,
        marker="o" if len(kept) <= 30 else None,
        markersize=4,
    )
    if pale:
        bins = min(100, len(values) // 10)
        medians = [[np.median(part) for part in np.array_split(a, bins)] for a in (steps, values)]
        axes.plot(*medians, color=BLUE, linewidth=2)
    axes.set_ylabel(label)


def is_noisy(values: np.ndarray) -> bool:
    """Tells whether many values go up and down so often that their medians say more.

    Args:
        values: finite. Changes below a thousandth of their range, such as rounding where a run has
            come to rest, do not count.
    """
    if len(values) <= 50:
        return False
    changes = np.diff(values)
    ways = np.sign(np.where(np.abs(changes) > 1e-3 * np.ptp(values), changes, 0))
    return bool(np.mean(ways[1:] * ways[:-1] < 0) > 0.3)


def label_steps(axes: Axes) -> None:
    """Labels the x axis with whole steps, once all is drawn."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    low, high = axes.get_xlim()
    if high - low < 1:  # there is one step only
        axes.set_xlim(round(low) - 1, round(high) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("step")


@house_style()
def training_curves(history: History, title: str) -> dict[str, Figure]:
    """Draws `curves`: loss, gradnorm and velocity over the steps; nothing if `history` has none."""
    names = [name for name in LABELS if history.get(name)]
    if not names:
        return {}
    figure, panels = new_figure(len(names), 1, (8.0, 1.2 + 2.0 * len(names)), sharex=True)
    for axes, name in zip(panels, names, strict=True):
        draw_curve(axes, history[name], LABELS[name])
    panels[0].set_title(title)
    label_steps(panels[-1])
    figure.align_ylabels(panels)
    return {"curves": figure}


def set_log_scale(axes: Axes, decades: float) -> None:
    """Makes the y axis logarithmic: few decades have labels 0.1 0.2 0.5 1, many 10⁻⁸ 10⁻⁴ 1.

    matplotlib's own labels are mathtext, whose first use in a process takes 45 ms, and its minor
    ticks are a third of the time that such a picture takes.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    def power(value: float, _: int | None) -> str:
        exponent = round(np.log10(value))
        return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPTS)

    few = decades < 3
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter((lambda y, _: f"{y:g}") if few else power))
    axes.yaxis.set_minor_locator(NullLocator())


def _extremes(values: np.ndarray, bins: int = 1000) -> np.ndarray:
    """Indices, rising, of at most 2·bins + 2 values: the ends, each bin's lowest and highest."""
    n = len(values)
    if n <= 2 * bins:
        return np.arange(n)
    edges = np.linspace(0, n, bins + 1).astype(int)
    lows = [a + values[a:b].argmin() for a, b in pairwise(edges)]
    highs = [a + values[a:b].argmax() for a, b in pairwise(edges)]
    return np.unique([0, *lows, *highs, n - 1])
