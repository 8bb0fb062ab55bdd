"""Scales of a comparison's charts: metrics, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import log10
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.pictures.curves import set_log_scale
from scratchopt.pictures.style import DRAWABLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARES = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


def metric_scale(axes: Axes, values: Iterable[float], mode: str) -> None:
    """The y axis of a metric: what is drawn decides on its scale and its ends.

    Shares that should be great, such as an accuracy, are spread towards 1 as their distance from it
    is on a logarithmic scale; positive numbers that should be small and span more than a decade
    are logarithmic; all others linear.
    """
    drawn = np.array([value for value in values if abs(value) < DRAWABLE], dtype=float)
    if not len(drawn):
        return
    low, high = float(drawn.min()), float(drawn.max())
    if mode == "max" and low >= 0 and 0.8 < high < 1:
        _share_scale(axes, low, high)
    elif low > 0 and log10(high / low) > 1:
        decades = log10(high / low)
        set_log_scale(axes, decades)
        axes.set_ylim(low / 10 ** (0.05 * decades), high * 10 ** (0.05 * decades))
    else:
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)


def _share_scale(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    there, back = _spread()
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


def _spread() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    def there(x: Any) -> Any:
        return -np.log10(np.maximum(1 - np.asarray(x), 1e-9))

    def back(y: Any) -> Any:
        return 1 - 10.0 ** -np.asarray(y)

    return there, back


def cost_scale(axes: Axes, values: Iterable[float], which: str = "x") -> None:
    """An axis of evaluations: logarithmic where they span more than a decade."""
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
