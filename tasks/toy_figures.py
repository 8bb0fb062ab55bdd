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


@house_style()
def toy_figures(
    function: Function, points: Tensor, values: Tensor, gradients: Tensor, title: str
) -> dict[str, Figure]:
    """Draws the path of a run, and how it comes near the minimum.

    `path`: the visited points coloured by step, on the function's graph with an arrow for each
    gradient step (one variable), or on its contours (two).
    `oscillation`: the coordinates of the first 50 points, and the distance to the nearest minimum.

    Args:
        function: what is minimized.
        points: evaluated, in order; [steps, dim]. Those far outside the function's window, or not
            finite, are counted in a note rather than drawn.
        values: of the function there; [steps].
        gradients: of the function there; [steps, dim].
        title: of each picture.
    """
    x, f, g = (t.detach().double().numpy() for t in (points, values, gradients))
    path = (
        _draw_path_on_graph(function, x, f, g)
        if function.dim == 1
        else _draw_path_on_contours(function, x)
    )
    oscillation = _draw_oscillation(function, x)
    for figure in (path, oscillation):
        figure.axes[0].set_title(title)
    return {"path": path, "oscillation": oscillation}


def _draw_path_on_graph(function: Function, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> Figure:
    figure, (axes,) = new_figure()
    low, high = choose_limits(function, x)
    bottom, top = draw_graph(axes, function, low, high)
    margin = 0.06 * (top - bottom)
    axes.set(xlabel="x", ylabel="f(x)")
    places = np.column_stack([x, f])
    shown = _draw_visited(figure, axes, places)
    ring_minima(axes, function)

    # A gradient step goes (−lr·g, −lr·g²) along the tangent. The longest is drawn a tenth of the
    # width, whatever the lr; those under 12 pixels, or within 20 of another, would blur.
    starts, slopes = places[shown], np.nan_to_num(g[shown], posinf=0, neginf=0)
    scale = 0.1 * (high[0] - low[0]) / np.abs(slopes).max(initial=1e-100)
    arrows = -scale * np.hstack([slopes, slopes**2])
    lowest = (starts + arrows)[:, 1].min(initial=bottom)
    axes.set_ylim(max(lowest, bottom - 4 * margin) - margin, top + margin)
    tails, heads = axes.transData.transform(starts), axes.transData.transform(starts + arrows)
    _, apart = np.unique(tails // 20, axis=0, return_index=True)
    apart = apart[np.hypot(*(heads - tails)[apart].T) > 12]
    axes.quiver(
        *starts[apart].T,
        *arrows[apart].T,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.003,
        color=BLUE,
    )
    axes.plot([], [], color=BLUE, marker=">", label="gradient step, scaled")
    axes.legend(loc="upper center")
    return figure


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


def _draw_oscillation(function: Function, x: np.ndarray) -> Figure:
    figure, (first, whole) = new_figure(1, 2, (10.0, 4.0))
    head, names = x[:50], "xy"[: function.dim]
    low, high = choose_limits(function, head)
    minimizers = np.array(function.minimizers)
    rows = head.T
    for row, name, color, marker in zip(rows, names, (BLUE, ORANGE), "os", strict=False):
        first.plot(row, color=color, marker=marker, markersize=4, linewidth=1, label=name)
    for coordinate in np.unique(minimizers):
        first.plot([0, len(head)], [coordinate] * 2, color=GREY, linestyle="--", label="minimum")
    bottom, top = first.get_ylim()
    first.set_ylim(max(bottom, low.min()), min(top, high.max()))
    first.legend(handles=first.lines[: function.dim + 1], loc="best")
    first.set_ylabel(", ".join(names))
    label_steps(first)
    first.set_xlabel("step" if len(x) == len(head) else f"step, the first {len(head)}")
    distances = np.abs(x[:, None] - minimizers).max(axis=-1).min(axis=-1)
    draw_curve(whole, np.column_stack([np.arange(len(x)), distances]), "distance to the minimum")
    label_steps(whole)
    return figure


def _draw_visited(figure: Figure, axes: Axes, places: np.ndarray) -> np.ndarray:
    """Draws `places` [steps, 2] with a scale of their colours; the indices of those drawn."""
    from matplotlib.ticker import MaxNLocator

    shown, outside = draw_points(axes, places, len(places) - 1)
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
    return shown
