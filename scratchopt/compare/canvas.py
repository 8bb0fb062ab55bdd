"""What the charts of a comparison share: a narrow sheet, a legend above it.

Half a page wide, so that two stand side by side and one is still readable on a telephone.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from scratchopt.pictures.style import GREY, new_figure
from scratchopt.plots.line_styles import LineStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH = 5.5  # inches
_LINE = 0.21  # of a line of text
_ACROSS = 56  # characters in a line of the legend
PLAIN: dict[str, Any] = {"linestyle": "none", "color": GREY, "markersize": 7}


def canvas(
    title: str, handles: Sequence[Line2D], heights: Sequence[float], left: float = 0.95
) -> tuple[Figure, list[Axes]]:
    """A figure with a title, a legend and one axes above another.

    Args:
        title: a line of it, or more.
        handles: of the legend; none for no legend.
        heights: of the axes, in inches, without what stands around them.
        left: margin for the labels of the y axis, in inches.
    """
    lines = wrap(title, 58)
    columns = _columns([str(handle.get_label()) for handle in handles])
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


def named(look: LineStyle, name: str) -> Line2D:
    """An entry of a legend for an optimizer; a long name is cut."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=shortened(name, 40), **look.kwargs())


def sign(label: str, **how: Any) -> Line2D:
    """An entry of a legend for a kind of mark, whatever the optimizer."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **{**PLAIN, **how})


def shortened(name: str, length: int) -> str:
    """The name, its middle left out where it is longer."""
    if len(name) <= length:
        return name
    return f"{name[: length // 2]}…{name[len(name) - length // 2 + 1 :]}"


def _columns(labels: Sequence[str]) -> int:
    widest = max(map(len, labels), default=1) + 7
    return max(1, min(len(labels), _ACROSS // widest))
