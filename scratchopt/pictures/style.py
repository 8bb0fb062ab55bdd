"""The house style of all pictures, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.atomic_write import atomic_write

if TYPE_CHECKING:  # whoever draws nothing need not wait 0.3 s for matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): distinct to every eye. Their yellow is lost on white.
BLUE, ORANGE, BLACK, GREEN, PURPLE = "#0072B2", "#D55E00", "#000000", "#009E73", "#CC79A7"
SKY, AMBER = "#56B4E9", "#E69F00"
PALETTE = (BLUE, ORANGE, BLACK, GREEN, PURPLE, SKY, AMBER)
GREY = "#555555"  # of what is not data
DRAWABLE = 1e200  # beyond, the limits of an axis overflow

_STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "font.size": 11,
    "text.usetex": False,
    "text.parse_math": False,  # a label is a user's words: `$x_$` is a name and no formula
    "text.color": "#222222",
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#222222",
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titlepad": 10,
    "axes.titley": 1.0,  # finding it anew takes a tenth of the time of a picture
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "lines.linewidth": 1.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "svg.fonttype": "none",  # text that can be searched, selected and edited
    "svg.hashsalt": "scratchopt",  # ids are random without one
}


@contextmanager
def house_style() -> Iterator[None]:
    """Sets the house style for what is drawn in the block, or in the function that it decorates."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (8.0, 5.0), *, sharex: bool = False
) -> tuple[Figure, list[Axes]]:
    """Makes an empty figure of `size` inches and its axes, row by row.

    Its margins are fixed, in inches: a layout engine takes 30 ms, half as long as all the rest.
    """
    from matplotlib.figure import Figure

    width, height = size
    figure = Figure(figsize=size)
    axes = figure.subplots(rows, columns, sharex=sharex, squeeze=False)
    figure.subplots_adjust(
        left=0.85 / width,
        right=1 - 0.25 / width,
        bottom=0.6 / height,
        top=1 - 0.5 / height,
        wspace=1.1 * columns / width,
    )
    return figure, list(axes.flat)


def as_label(name: str) -> str:
    """Makes a label of a name, so that a legend shows it even if it begins with an underscore."""
    return f"\u200a{name}" if name.startswith("_") else name


@house_style()
def save(figure: Figure, path: Path) -> np.ndarray:
    """Writes `<path>.png` and `<path>.svg`, whole or not at all and always in the same bytes.

    SVG, because a browser shows it, its text stays text, and it takes a fifth of the time of a PDF,
    whose fonts must be embedded. What was drawn with `rasterized=True` is an image in it, of
    twice the PNG's resolution.

    Returns:
        The pixels of the PNG, uint8 [height, width, 3].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    png, svg = BytesIO(), BytesIO()
    Image.fromarray(pixels).save(png, "PNG", dpi=(figure.dpi, figure.dpi))
    figure.savefig(svg, format="svg", dpi=2 * figure.dpi, metadata={"Date": None})
    for kind, content in {"png": png, "svg": svg}.items():
        atomic_write(path.with_name(f"{path.name}.{kind}"), content.getvalue())
    return pixels
