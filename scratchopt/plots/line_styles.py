"""Line styles: colour, dashes and marker tell lines apart, in grey and for every eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from scratchopt.pictures.style import PALETTE, as_label

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

MARKERS = "os^DvPX*<>"
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.4)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (10, 2.5)),
    (0, (4, 1.5, 1.2, 1.5, 1.2, 1.5)),
)


@dataclass(frozen=True)
class LineStyle:
    """The style of a line, in matplotlib's terms."""

    color: str
    dashes: Any
    marker: str

    def kwargs(self, **others: Any) -> dict[str, Any]:
        """The keyword arguments of `Axes.plot`, and others."""
        return {
            "color": self.color,
            "linestyle": self.dashes,
            "marker": self.marker,
            "markersize": 5.5,
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
        } | others


def choose_line_styles(keys: Sequence[tuple[str, str]], lines: bool = True) -> list[LineStyle]:
    """Chooses colour and marker by the optimizer, dashes by the variant, for (optimizer, variant)s.

    If there is a single optimizer, or one for every line, all three go by the line. Where no lines
    are drawn, whose dashes would tell variants apart, each has a marker of its own; of more than
    there are markers, each variant of an optimizer.
    """
    optimizers = list(dict.fromkeys(optimizer for optimizer, _ in keys))
    variants = list(dict.fromkeys(variant for _, variant in keys))
    if len(optimizers) in (1, len(keys)):
        return [_style(i, i, i) for i in range(len(keys))]
    places = [(optimizers.index(optimizer), variants.index(variant)) for optimizer, variant in keys]
    if not lines:
        enough = len(optimizers) * len(variants) <= len(MARKERS)
        return [_style(i, j, i + len(optimizers) * j if enough else j) for i, j in places]
    return [_style(i, j, i + len(optimizers) * (j // len(DASHES))) for i, j in places]


def legend_entry(style: LineStyle, label: str, line: bool = True) -> Line2D:
    """Makes an entry of a legend, a marker alone without a line; a long label takes two lines."""
    from matplotlib.lines import Line2D

    others = {} if line else {"linestyle": "none"}
    return Line2D([], [], label=as_label(fill(label, 40)), **style.kwargs(**others))


def _style(color: int, dashes: int, marker: int) -> LineStyle:
    return LineStyle(
        PALETTE[color % len(PALETTE)], DASHES[dashes % len(DASHES)], MARKERS[marker % len(MARKERS)]
    )
