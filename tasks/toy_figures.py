"""Pictures of a descent on a function of one or two variables, as the source article draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scratchopt.lightning.curves import BLUE, GREY, ORANGE, curve, house_style, sheet, step_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tasks.functions import Function


@house_style()
def toy_figures(
    function: Function, points: Tensor, values: Tensor, gradients: Tensor, title: str
) -> dict[str, Figure]:
    """Where the run went, and how it came near.

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
    path = _graph(function, x, f, g) if function.dim == 1 else _contours(function, x)
    oscillation = _oscillation(function, x)
    for figure in (path, oscillation):
        figure.axes[0].set_title(title)
    return {"path": path, "oscillation": oscillation}


def _graph(function: Function, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> Figure:
    figure, (axes,) = sheet()
    low, high = _view(function, x)
    grid = np.linspace(low, high, 400)
    graph = _evaluate(function, grid)
    bottom, top = graph.min(), graph.max()
    margin = 0.06 * (top - bottom)
    axes.plot(grid[:, 0], graph, color=GREY, linewidth=1.5, label="f(x)")
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(bottom - margin, top + margin)
    axes.set(xlabel="x", ylabel="f(x)")
    places = np.column_stack([x, f])
    shown = _visits(figure, axes, places)
    minimizers = np.array(function.minimizers)
    _ring(axes, minimizers[:, 0], _evaluate(function, minimizers))

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


def _contours(function: Function, x: np.ndarray) -> Figure:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    figure, (axes,) = sheet()
    low, high = _view(function, x)
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 150).T), axis=-1)
    minimizers = np.array(function.minimizers)
    excess = _evaluate(function, grid) - _evaluate(function, minimizers).min()
    depth = np.log(np.maximum(excess, np.quantile(excess, 0.01)))  # the lowest 1 % is one level
    greys = ListedColormap(colormaps["Greys_r"](np.linspace(0.4, 1, 64)))
    axes.contourf(grid[..., 0], grid[..., 1], depth, levels=15, cmap=greys)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set(xlabel="x", ylabel="y")
    axes.annotate("darker is lower, log-spaced", (0, -0.13), xycoords="axes fraction", color=GREY)
    axes.grid(visible=False)
    path = x[_few(len(x))]
    axes.plot(*path.T, color="#222222", linewidth=0.7, alpha=0.5)
    _visits(figure, axes, x)
    _ring(axes, *minimizers.T)
    axes.legend(loc="best")
    return figure


def _oscillation(function: Function, x: np.ndarray) -> Figure:
    figure, (first, whole) = sheet(1, 2, (10.0, 4.0))
    few, names = x[:50], "xy"[: function.dim]
    low, high = _view(function, few)
    minimizers = np.array(function.minimizers)
    rows = few.T
    for row, name, color, marker in zip(rows, names, (BLUE, ORANGE), "os", strict=False):
        first.plot(row, color=color, marker=marker, markersize=4, linewidth=1, label=name)
    for coordinate in np.unique(minimizers):
        first.plot([0, len(few)], [coordinate] * 2, color=GREY, linestyle="--", label="minimum")
    bottom, top = first.get_ylim()
    first.set_ylim(max(bottom, low.min()), min(top, high.max()))
    first.legend(handles=first.lines[: function.dim + 1], loc="best")
    first.set_ylabel(", ".join(names))
    step_axis(first)
    first.set_xlabel("step" if len(x) == len(few) else f"step, the first {len(few)}")
    distances = np.abs(x[:, None] - minimizers).max(axis=-1).min(axis=-1)
    curve(whole, np.column_stack([np.arange(len(x)), distances]), "distance to the minimum")
    step_axis(whole)
    return figure


def _view(function: Function, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest coordinates to show: the window, at most thrice as wide for `x`."""
    low, high = np.array(function.window).T
    width = high - low
    x = x[np.isfinite(x).all(axis=1)]
    return (
        np.maximum(low - width, np.minimum(low, x.min(axis=0, initial=np.inf) - 0.05 * width)),
        np.minimum(high + width, np.maximum(high, x.max(axis=0, initial=-np.inf) + 0.05 * width)),
    )


def _evaluate(function: Function, x: np.ndarray) -> np.ndarray:
    return function(torch.from_numpy(x)).numpy()


def _few(n: int) -> np.ndarray:
    """At most 2,000 of n steps: the first 500, where most happens, and some up to the last."""
    return np.union1d(np.arange(min(n, 500)), np.linspace(0, n - 1, min(n, 1500)).astype(int))


def _ring(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """A ring about each minimum, so that the points that reach it stay visible."""
    axes.plot(
        x,
        y,
        linestyle="none",
        marker="o",
        markersize=15,
        markerfacecolor="none",
        markeredgecolor=ORANGE,
        markeredgewidth=2,
        label="minimum",
        zorder=4,
    )


def _visits(figure: Figure, axes: Axes, places: np.ndarray) -> np.ndarray:
    """Draw what lies within the axes of `places` [steps, 2], coloured by step; its indices."""
    from matplotlib.ticker import MaxNLocator

    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inside = np.flatnonzero(((places >= (left, bottom)) & (places <= (right, top))).all(axis=1))
    shown = inside[_few(len(inside))]
    # Dark dots beneath make an outline about all of them; one about each would hide its neighbours.
    axes.plot(*places[shown].T, "o", color="#222222", markersize=6.5, zorder=2.5)
    dots = axes.scatter(
        *places[shown].T,
        c=shown,
        cmap="viridis",
        vmin=0,
        vmax=max(1, len(places) - 1),
        s=30,
        linewidths=0,
        zorder=3,
    )
    figure.colorbar(
        dots,
        ax=axes,
        label="Optimization step index",
        pad=0.02,
        ticks=MaxNLocator(6, integer=True),
        format="{x:,.0f}",
    )
    if outside := len(places) - len(inside):
        note = f"{outside:,} of {len(places):,} points lie outside"
        axes.annotate(note, (1, -0.13), xycoords="axes fraction", ha="right", color=ORANGE)
    return shown
