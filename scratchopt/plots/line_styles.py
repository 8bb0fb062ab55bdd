"""How lines are told apart: by colour, dashes and marker, so that grey and any eye will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from scratchopt.pictures.style import PALETTE

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
class Look:
    """How a line looks."""

    color: str
    dashes: Any
    marker: str

    def plot(self, **others: Any) -> dict[str, Any]:
        """As `Axes.plot` takes it."""
        return {
            "color": self.color,
            "linestyle": self.dashes,
            "marker": self.marker,
            "markersize": 5.5,
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
        } | others


def looks(kinds: Sequence[tuple[str, str]]) -> list[Look]:
    """Of each kind, an optimizer and a variant: colour and marker by the one, dashes by the other.

    Of a single optimizer, or where every kind has one of its own, all three go by the kind.
    """
    optimizers = list(dict.fromkeys(optimizer for optimizer, _ in kinds))
    variants = list(dict.fromkeys(variant for _, variant in kinds))
    if len(optimizers) in (1, len(kinds)):
        return [_look(i, i, i) for i in range(len(kinds))]
    places = [
        (optimizers.index(optimizer), variants.index(variant)) for optimizer, variant in kinds
    ]
    return [_look(i, j, i + len(optimizers) * (j // len(DASHES))) for i, j in places]


def key(look: Look, label: str) -> Line2D:
    """An entry of a legend; a long label takes two lines."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=fill(label, 40), **look.plot())


def _look(color: int, dashes: int, marker: int) -> Look:
    return Look(
        PALETTE[color % len(PALETTE)], DASHES[dashes % len(DASHES)], MARKERS[marker % len(MARKERS)]
    )
