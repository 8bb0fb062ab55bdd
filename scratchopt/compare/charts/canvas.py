"""The sheet of the charts of a comparison: narrow, with a legend above, and its scales.

Half a page wide, so that two stand side by side and one is still readable on a telephone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import log10
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.pictures.curves import set_log_scale
from scratchopt.pictures.style import DRAWABLE, GREY, as_label, new_figure
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


WIDTH = 5.5  # inches
_LINE = 0.21  # of a line of text
_ACROSS = 56  # characters in a line of the legend
PLAIN: dict[str, Any] = {"linestyle": "none", "color": GREY, "markersize": 7}


def make_canvas(
    title: str, handles: Sequence[Line2D], heights: Sequence[float], left: float = 0.95
) -> tuple[Figure, list[Axes]]:
    """Makes a figure with a title, a legend and one axes above another.

    Args:
        title: a line of it, or more.
        handles: of the legend; none for no legend.
        heights: of the axes, in inches, without what stands around them.
        left: margin for the labels of the y axis, in inches.
    """
    lines = wrap(title, 58)
    columns = _count_columns([str(handle.get_label()) for handle in handles])
    rows = -(-len(handles) // columns)
    gap = 0.22
    top = 0.2 + _LINE * (len(lines) + rows) + 0.08
    height = top + sum(heights) + gap * (len(heights) - 1) + 0.6
    figure, axes = new_figure(len(heights), 1, (WIDTH, height), sharex=True)
    below = height - top
    for place, tall in zip(axes, heights, strict=True):
        place.set_position(
            (left / WIDTH, (below - tall) / height, (WIDTH - left - 0.2) / WIDTH, tall / height)
        )
        place.yaxis.set_label_coords((0.2 - left) / (WIDTH - left - 0.2), 0.5)
        below -= tall + gap
    for i, line in enumerate(lines):
        figure.text(0.15 / WIDTH, 1 - (0.2 + _LINE * i) / height, line, fontsize=12, va="center")
    if handles:
        figure.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=(0.15 / WIDTH, 1 - (0.14 + _LINE * len(lines)) / height),
            ncols=columns,
            fontsize=10,
            handlelength=2.4,
            columnspacing=1.2,
            labelspacing=0.3,
            borderpad=0,
            borderaxespad=0,
        )
    return figure, axes


def make_optimizer_handle(style: LineStyle, name: str) -> Line2D:
    """Makes the entry of a legend for an optimizer; a long name is cut."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=as_label(shorten(name, 40)), **style.kwargs())


def make_mark_handle(label: str, **style: Any) -> Line2D:
    """Makes the entry of a legend for a kind of mark, whatever the optimizer."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **{**PLAIN, **style})


def make_arrow(right: float, up: float) -> dict[str, Any]:
    """Makes the mark of a run that was stopped: an arrow from what it had taken to where it goes.

    Args:
        right: 1 for an arrow to the right, else 0.
        up: 1 for an arrow upwards, else 0.
    """
    from matplotlib.path import Path

    head = [(0.6, 0.35), (1.0, 0.0), (0.6, -0.35)]  # of an arrow to the right
    points = [(0.0, 0.0), (1.0, 0.0), *head]
    turned = [(right * x + up * y, right * y + up * x) for x, y in points]
    path = Path(turned, [Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.LINETO])
    return {"marker": path, "markersize": 13, "markerfacecolor": "none", "mew": 1.6}


def shorten(name: str, length: int) -> str:
    """Leaves out the middle of a name that is longer."""
    if len(name) <= length:
        return name
    return f"{name[: length // 2]}…{name[len(name) - length // 2 + 1 :]}"


def _count_columns(labels: Sequence[str]) -> int:
    widest = max(map(len, labels), default=1) + 7
    return max(1, min(len(labels), _ACROSS // widest))


_SHARES = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


def set_metric_scale(axes: Axes, values: Iterable[float], mode: str) -> None:
    """Sets the y axis of a metric: what is drawn decides on its scale and its ends.

    Shares that should be great, such as an accuracy, are spread towards 1 as their distance from it
    is on a logarithmic scale; positive numbers that should be small and span more than a decade
    are logarithmic; all others linear.
    """
    drawn = np.array([value for value in values if abs(value) < DRAWABLE], dtype=float)
    if not len(drawn):
        return
    low, high = float(drawn.min()), float(drawn.max())
    if mode == "max" and low >= 0 and 0.8 < high < 1:
        _set_share_scale(axes, low, high)
    elif low > 0 and log10(high / low) > 1:
        decades = log10(high / low)
        set_log_scale(axes, decades)
        axes.set_ylim(low / 10 ** (0.05 * decades), high * 10 ** (0.05 * decades))
    else:
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)


def _set_share_scale(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    there, back = _make_share_transform()
    axes.set_yscale("function", functions=(there, back))
    ends = np.array([there(np.array(low)), there(np.array(high))])
    room = 0.06 * (ends[1] - ends[0]) or 0.1
    axes.set_ylim(*(float(back(end)) for end in (ends[0] - room, ends[1] + room)))
    shown: list[float] = []
    for share in reversed(_SHARES):  # those near 1 first: they are what one looks for
        apart = not shown or there(shown[-1]) - there(share) > 0.08 * (ends[1] - ends[0])
        if axes.get_ylim()[0] <= share <= axes.get_ylim()[1] and apart:
            shown.append(share)
    if len(shown) >= 2:
        axes.yaxis.set_major_locator(FixedLocator(shown))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _make_share_transform() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    def there(x: Any) -> Any:
        return -np.log10(np.maximum(1 - np.asarray(x), 1e-9))

    def back(y: Any) -> Any:
        return 1 - 10.0 ** -np.asarray(y)

    return there, back


def set_cost_scale(axes: Axes, values: Iterable[float], which: str = "x") -> None:
    """Sets an axis of evaluations: logarithmic where they span more than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    drawn = [value for value in values if 0 < value < DRAWABLE]
    axis = axes.xaxis if which == "x" else axes.yaxis
    set_lim = axes.set_xlim if which == "x" else axes.set_ylim
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    if not drawn:
        return
    low, high = min(drawn), max(drawn)
    if high > 10 * low:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        few = high < 1000 * low
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=7))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
        room = (high / low) ** 0.06
        set_lim(low / room, high * room)
    else:
        axis.set_major_locator(MaxNLocator(6))
        set_lim(0, high * 1.06)
