"""How lines are told apart: by colour, dashes and marker, so that grey and any eye will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from scratchopt.pictures.style import PALETTE
from scripts.plotting.comparison import Setting

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


def looks(settings: Sequence[Setting]) -> list[Look]:
    """Of each setting: colour and marker by its optimizer, dashes by the variant.

    Of a single optimizer, or where every setting has one of its own, all three go by the setting.
    """
    optimizers = list(dict.fromkeys(setting.optimizer for setting in settings))
    variants = list(dict.fromkeys(setting.variant for setting in settings))
    if len(optimizers) in (1, len(settings)):
        return [_look(i, i, i) for i in range(len(settings))]
    places = [(optimizers.index(s.optimizer), variants.index(s.variant)) for s in settings]
    return [_look(i, j, i + len(optimizers) * (j // len(DASHES))) for i, j in places]


def key(look: Look, label: str) -> Line2D:
    """An entry of a legend; a long label takes two lines."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=fill(label, 40), **look.plot())


def _look(color: int, dashes: int, marker: int) -> Look:
    return Look(
        PALETTE[color % len(PALETTE)], DASHES[dashes % len(DASHES)], MARKERS[marker % len(MARKERS)]
    )
