"""A picture of a sweep of two numbers: the outcome of each run at its place, as a colour."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.pictures.style import GREY, ORANGE, house_style, new_figure
from scratchopt.plots.grid_panels import Panel, make_panels
from scratchopt.plots.outcome import DIVERGED, TOO_LONG
from scratchopt.plots.swept_keys import find_swept_numbers, is_logarithmic
from scratchopt.runs.directory import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 12  # that a picture has room for
ROOM = (0.5, 0.17)  # inches between the labels of two values, along x and along y
_MARKS: dict[str, dict[str, Any]] = {DIVERGED: {"marker": "x"}, TOO_LONG: {"marker": "^"}}
_NOTHING = "#E9E9E9"  # of a cell without a number


@house_style()
def grid_figure(runs: Sequence[Run], title: str) -> Figure | None:
    """Draws the outcome over two swept numbers, such as lr and momentum; None where one is swept.

    A panel is a setting of all else, such as an optimizer; all have the same colours, and a ring at
    their best. Where most combinations of the two numbers were run, each is a cell, else a dot. A
    cross diverged, a triangle did not converge within its steps. Runs at the same place count by
    their median. Numbers beyond the two make a panel of each of their values, unless a panel would
    have too few runs, as of a random search: then they are not told apart.

    Args:
        runs: of one task, with a result.
        title: of the picture.
    """
    keys = find_swept_numbers(runs)
    if len(keys) < 2:
        return None
    panels = make_panels(runs, keys[:2], keys[:2]) or make_panels(runs, keys[:2], keys)
    if not panels:
        return None
    left_out = len(panels) - PANELS
    if left_out > 0:
        panels = sorted(panels, key=lambda panel: panel.rank)[:PANELS]
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    each = (6.4, 4.4) if len(panels) == 1 else (3.9, 3.2)
    width, height = each[0] * columns + 1.5, each[1] * rows + 0.8
    figure, places = new_figure(rows, columns, (width, height))
    figure.subplots_adjust(
        left=0.85 / width,
        right=1 - 1.35 / width,
        top=1 - 1.0 / height,
        bottom=0.65 / height,
        hspace=0.35,
        wspace=0.16,
    )
    outcomes = [its for panel in panels for its in panel.points.values()]
    heading = f"{title}: {outcomes[0].name}"
    if left_out > 0:
        heading += f"; the {PANELS} best of {PANELS + left_out} panels"
    figure.text(0.3 / width, 1 - 0.3 / height, heading, fontsize=13, va="center")
    norm = _choose_colours([its.value for its in outcomes if not its.mark])
    drawn = np.array([place for panel in panels for place in panel.points])
    edges = [_find_edges(values) for values in drawn.T]
    for i, (axes, panel) in enumerate(zip(places, panels, strict=False)):
        size = np.array(axes.get_position().size) * (width, height)
        _set_scales(axes, drawn, edges, size)
        _draw(axes, panel, norm, keys[:2])
        lowest, leftmost = i + columns >= len(panels), i % columns == 0
        axes.set_xlabel(_name(keys[0]) if lowest else "")
        axes.set_ylabel(_name(keys[1]) if leftmost else "")
        axes.tick_params(labelleft=leftmost, labelbottom=lowest)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    _draw_colour_bar(figure, norm)
    _draw_legend(figure, {its.mark for its in outcomes} - {""})
    return figure


def _draw(axes: Axes, panel: Panel, norm: Any, keys: Sequence[str]) -> None:
    """Draws the cells or dots of a panel, and what has no number as a mark."""
    places = np.array(list(panel.points))
    xs, ys = (np.unique(values) for values in places.T)
    good = {place: its.value for place, its in panel.points.items() if not its.mark}
    cells = 2 * len(places) >= len(xs) * len(ys)
    if cells:
        values = np.full((len(ys), len(xs)), np.nan)
        for (x, y), value in good.items():
            values[np.searchsorted(ys, y), np.searchsorted(xs, x)] = value
        mesh = axes.pcolormesh(
            _find_edges(xs), _find_edges(ys), values, norm=norm, cmap="viridis", rasterized=True
        )
        mesh.set_zorder(0.5)
        axes.grid(False)
    elif good:
        x, y = np.array(list(good)).T
        axes.scatter(
            x, y, c=list(good.values()), norm=norm, cmap="viridis", s=46, edgecolors="white",
            linewidths=0.6, zorder=3,
        )  # fmt: skip
    size = min(6.0, 90 / max(len(xs), len(ys))) if cells else 6.0
    for mark, style in _MARKS.items():
        at = np.array([place for place, its in panel.points.items() if its.mark == mark])
        if len(at):
            axes.plot(
                *at.T, linestyle="none", color=GREY, markersize=size, markerfacecolor="white",
                markeredgewidth=0.9, label=mark, **style,
            )  # fmt: skip
    words = panel.name
    if panel.best is not None:
        axes.plot(
            *panel.best, marker="o", markersize=11, markerfacecolor="none",
            markeredgecolor=ORANGE, markeredgewidth=2.2, zorder=4, clip_on=False,
        )  # fmt: skip
        at = ", ".join(f"{_name(k)}={v:.4g}" for k, v in zip(keys, panel.best, strict=True))
        words = f"{panel.name}: {panel.points[panel.best].value:.4g} at {at}"
    axes.set_title(fill(words, 46), fontsize=10, pad=6)


def _set_scales(
    axes: Axes, places: np.ndarray, edges: Sequence[np.ndarray], size: np.ndarray
) -> None:
    """Sets both axes, logarithmic where the numbers lie so, the values as labels if they fit."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    for i, (axis, set_scale, set_limits) in enumerate(
        ((axes.xaxis, axes.set_xscale, axes.set_xlim), (axes.yaxis, axes.set_yscale, axes.set_ylim))
    ):
        unique = np.unique(places[:, i])
        log = is_logarithmic(unique)
        set_scale("log" if log else "linear")
        set_limits(edges[i][0], edges[i][-1])
        scaled = np.log(unique) if log else unique
        few = size[i] * np.diff(scaled).min() / np.ptp(scaled) > ROOM[i]
        several = LogLocator(subs=(1, 2, 5), numticks=9) if log else MaxNLocator(6)
        axis.set_major_locator(FixedLocator(list(unique)) if few else several)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    axes.set_facecolor(_NOTHING)


def _find_edges(values: np.ndarray) -> np.ndarray:
    """The edges of cells about some numbers, halfway between them on their scale."""
    unique = np.unique(values)
    log = is_logarithmic(unique)
    at = np.log(unique) if log else unique
    if len(at) == 1:
        return np.array([unique[0] - 0.5, unique[0] + 0.5])
    middle = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    return np.exp(edges) if log else edges


def _choose_colours(values: Sequence[float]) -> Any:
    """Chooses the norm of the colours, logarithmic where the values span more than a decade."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = min(values), max(values)
    if low > 0 and high / low > 10:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1)


def _draw_colour_bar(figure: Figure, norm: Any) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    width, height = figure.get_size_inches()
    bar = figure.add_axes((1 - 1.15 / width, 0.65 / height, 0.2 / width, 1 - 1.65 / height))
    figure.colorbar(ScalarMappable(norm, "viridis"), cax=bar)
    if isinstance(norm, LogNorm):
        bar.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bar.yaxis.set_minor_locator(NullLocator())
    bar.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.set_ylabel("")


def _draw_legend(figure: Figure, marks: set[str]) -> None:
    """Says beneath the title what the marks mean that are there."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    signs = {"best": {"marker": "o", "color": ORANGE, "markeredgewidth": 2.2}}
    signs |= {mark: style | {"color": GREY} for mark, style in _MARKS.items() if mark in marks}
    figure.legend(
        handles=[
            Line2D([], [], linestyle="none", markerfacecolor="white", label=label, **sign)
            for label, sign in signs.items()
        ],
        loc="center left",
        bbox_to_anchor=(0.2 / width, 1 - 0.58 / height),
        ncols=len(signs),
        fontsize=10,
        handletextpad=0.2,
        columnspacing=1.2,
        borderpad=0,
        borderaxespad=0,
    )


def _name(key: str) -> str:
    return key.rpartition(".")[2]
