"""Pictures of a descent on a function of one or two variables, as the source article draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from scratchopt.pictures.curves import draw_curve, label_steps
from scratchopt.pictures.style import BLUE, GREY, ORANGE, house_style, new_figure
from scratchopt.problems.landscape import (
    choose_limits,
    draw_contours,
    draw_graph,
    draw_points,
    ring_minima,
    thin_out,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scratchopt.problems.functions import Function

FIRST_STEPS = 50  # as many as the article draws
MOVES = 12  # arrows; more would hide the points


@house_style()
def descent_figures(
    function: Function, points: Tensor, values: Tensor, iterates: Tensor, title: str
) -> dict[str, Figure]:
    """Draws the path of a run, and how it comes near the minimum.

    `path`: the evaluated points coloured by step, on the function's graph with arrows that lead
    from one to the next (one variable), or on its contours (two).
    `oscillation`: the coordinates of x before the first 50 steps, as small rings those of the
    lookahead points, where there are any, and the distance of x to the nearest minimum.

    Args:
        function: what is minimized.
        points: evaluated, in order; [steps, dim]. Those far outside the function's window, or not
            finite, are counted in a note rather than drawn.
        values: of the function there; [steps].
        iterates: x before each step; [steps, dim]. Those that are NaN are not known.
        title: of each picture.
    """
    x, f, its = (t.detach().double().numpy() for t in (points, values, iterates))
    path = (
        _draw_path_on_graph(function, x, f)
        if function.dim == 1
        else _draw_path_on_contours(function, x)
    )
    oscillation = _draw_oscillation(function, its, x)
    for figure in (path, oscillation):
        figure.axes[0].set_title(title)
    return {"path": path, "oscillation": oscillation}


def _draw_path_on_graph(function: Function, x: np.ndarray, f: np.ndarray) -> Figure:
    figure, (axes,) = new_figure()
    draw_graph(axes, function, *choose_limits(function, x))
    axes.set(xlabel="x", ylabel="f(x)")
    places = np.column_stack([x, f])
    _draw_visited(figure, axes, places)
    ring_minima(axes, function)
    _draw_moves(axes, places)
    axes.legend(loc="upper center")
    return figure


def _draw_moves(axes: Axes, places: np.ndarray) -> None:
    """Draws the first arrows from one place to the next, if they are long enough to be seen."""
    first = places[: MOVES + 1]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    outside = (first < (left, bottom)) | (first > (right, top))
    first = np.where(outside.any(axis=1, keepdims=True), np.nan, first)
    tails, heads = first[:-1], first[1:]
    pixels = np.hypot(*(axes.transData.transform(heads) - axes.transData.transform(tails)).T)
    seen = pixels > 12
    axes.quiver(
        *tails[seen].T,
        *(heads - tails)[seen].T,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.003,
        headwidth=5,
        color=BLUE,
        alpha=0.7,
    )
    label = "to the next point" + (f", first {MOVES}" if len(places) > MOVES + 1 else "")
    axes.plot([], [], color=BLUE, marker=">", label=label)


def _draw_path_on_contours(function: Function, x: np.ndarray) -> Figure:
    figure, (axes,) = new_figure()
    draw_contours(axes, function, *choose_limits(function, x))
    axes.set(xlabel="x", ylabel="y")
    axes.annotate("darker is lower, log-spaced", (0, -0.13), xycoords="axes fraction", color=GREY)
    path = x[thin_out(len(x))]
    axes.plot(*path.T, color="#222222", linewidth=0.7, alpha=0.5)
    _draw_visited(figure, axes, x)
    ring_minima(axes, function)
    axes.legend(loc="best")
    return figure


def _draw_oscillation(function: Function, x: np.ndarray, points: np.ndarray) -> Figure:
    figure, (first, whole) = new_figure(1, 2, (10.0, 4.0))
    head, names = x[:FIRST_STEPS], "xy"[: function.dim]
    low, high = choose_limits(function, head)
    minimizers = np.array(function.minimizers)
    for row, name, color, marker in zip(head.T, names, (BLUE, ORANGE), "os", strict=False):
        first.plot(row, color=color, marker=marker, markersize=4, linewidth=1, label=name)
    for coordinate in np.unique(minimizers):
        first.plot([0, len(head)], [coordinate] * 2, color=GREY, linestyle="--", label="minimum")
    entries = first.lines[: function.dim + 1]
    ahead = points[:FIRST_STEPS]
    if not np.array_equal(head, ahead, equal_nan=True):
        ring = {"linestyle": "none", "markersize": 4, "markerfacecolor": "none", "alpha": 0.6}
        for row, name, color, marker in zip(ahead.T, names, (BLUE, ORANGE), "os", strict=False):
            label = f"lookahead of {name}"
            entries += first.plot(row, color=color, marker=marker, label=label, **ring)
    bottom, top = first.get_ylim()
    first.set_ylim(max(bottom, low.min()), min(top, high.max()))
    first.legend(handles=entries, loc="best")
    first.set_ylabel(", ".join(names))
    label_steps(first)
    first.set_xlabel("step" if len(x) == len(head) else f"step, the first {len(head)}")
    distances = np.abs(x[:, None] - minimizers).max(axis=-1).min(axis=-1)
    draw_curve(whole, np.column_stack([np.arange(len(x)), distances]), "distance to the minimum")
    label_steps(whole)
    return figure


def _draw_visited(figure: Figure, axes: Axes, places: np.ndarray) -> None:
    """Draws `places` [steps, 2] with a scale of their colours."""
    from matplotlib.ticker import MaxNLocator

    _, outside = draw_points(axes, places, len(places) - 1)
    figure.colorbar(
        axes.collections[-1],
        ax=axes,
        label="Optimization step index",
        pad=0.02,
        ticks=MaxNLocator(6, integer=True),
        format="{x:,.0f}",
    )
    if outside:
        note = f"{outside:,} of {len(places):,} points lie outside"
        axes.annotate(note, (1, -0.13), xycoords="axes fraction", ha="right", color=ORANGE)
