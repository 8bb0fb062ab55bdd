"""The sheet of a picture of several runs: a title, the legend in a strip beneath it, and panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scratchopt.pictures.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_CHARACTER, _LINE, _HANDLE = 0.082, 0.17, 0.95  # inches of the legend's text, and of its handles


def make_sheet(
    count: int,
    title: str,
    entries: Sequence[Line2D],
    heading: str | None = None,
    size: tuple[float, float] = (9.0, 2.7),
) -> tuple[Figure, list[Axes]]:
    """Makes a figure of `count` panels: up to three one above the other, more in two columns.

    Args:
        count: of panels, >= 1.
        title: of the picture.
        entries: of the legend; none for no legend.
        heading: of the legend.
        size: of a panel with what stands around it, in inches; in two columns it is narrower.
    """
    columns = 1 if count <= 3 else 2
    rows = -(-count // columns)
    width = size[0] if columns == 1 else 1.3 * size[0]
    labels = [str(entry.get_label()) for entry in entries]
    widest = max((len(line) for label in labels for line in label.split("\n")), default=0)
    across = max(1, min(len(entries), int((width - 0.6) / (_HANDLE + _CHARACTER * widest))))
    tall = max((label.count("\n") + 1 for label in labels), default=0)
    strip = -(-len(entries) // across) * (_LINE * tall + 0.06) + 0.24 * bool(heading)
    height = rows * size[1] + strip + 0.9
    figure, axes = new_figure(rows, columns, (width, height))
    figure.subplots_adjust(
        top=1 - (0.9 + strip) / height, hspace=0.95 / size[1], wspace=2.2 / width
    )
    figure.text(0.3 / width, 1 - 0.3 / height, title, fontsize=13, va="center")
    if entries:
        figure.legend(
            handles=list(entries),
            title=heading,
            loc="upper left",
            bbox_to_anchor=(0.3 / width, 1 - 0.5 / height),
            alignment="left",
            ncols=across,
            fontsize=10,
            title_fontsize=10,
            handlelength=4.0,
            columnspacing=1.2,
            labelspacing=0.3,
            borderpad=0,
            borderaxespad=0,
        )
    for place in axes[count:]:
        place.set_axis_off()
    return figure, axes[:count]
