"""The landscape of a function: its graph or contours, its minima, and points on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scratchopt.pictures.style import GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from scratchopt.problems.functions import Function


def choose_limits(function: Function, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the lowest and highest coordinates: the window, widened to show `x`, up to thrice."""
    low, high = np.array(function.window).T
    width = high - low
    x = x[np.isfinite(x).all(axis=1)]
    return (
        np.maximum(low - width, np.minimum(low, x.min(axis=0, initial=np.inf) - 0.05 * width)),
        np.minimum(high + width, np.maximum(high, x.max(axis=0, initial=-np.inf) + 0.05 * width)),
    )


def evaluate(function: Function, x: np.ndarray) -> np.ndarray:
    """Evaluates the function at points [..., dim]."""
    return function(torch.from_numpy(x)).numpy()


def draw_graph(
    axes: Axes, function: Function, low: np.ndarray, high: np.ndarray
) -> tuple[float, float]:
    """Draws f(x) of one variable; returns its lowest and highest value."""
    grid = np.linspace(low, high, 400)
    values = evaluate(function, grid)
    bottom, top = values.min(), values.max()
    margin = 0.06 * (top - bottom)
    axes.plot(grid[:, 0], values, color=GREY, linewidth=1.5, label="f(x)")
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(bottom - margin, top + margin)
    return bottom, top


def draw_contours(axes: Axes, function: Function, low: np.ndarray, high: np.ndarray) -> None:
    """Draws f(x, y) in greys, darker where it is lower, in levels of its logarithm."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    grid = np.stack(np.meshgrid(*np.linspace(low, high, 150).T), axis=-1)
    excess = evaluate(function, grid) - evaluate(function, np.array(function.minimizers)).min()
    depth = np.log(np.maximum(excess, np.quantile(excess, 0.01)))  # the lowest 1 % is one level
    greys = ListedColormap(colormaps["Greys_r"](np.linspace(0.4, 1, 64)))
    levels = axes.contourf(grid[..., 0], grid[..., 1], depth, levels=15, cmap=greys)
    levels.set_rasterized(True)  # as vectors, 400 kB
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.grid(visible=False)


def ring_minima(axes: Axes, function: Function, size: float = 15) -> None:
    """Draws a ring around each minimum, so that the points that reach it stay visible."""
    minimizers = np.array(function.minimizers)
    values = evaluate(function, minimizers)
    places = [minimizers[:, 0], values] if function.dim == 1 else minimizers.T
    axes.plot(
        *places,
        linestyle="none",
        marker="o",
        markersize=size,
        markerfacecolor="none",
        markeredgecolor=ORANGE,
        markeredgewidth=2,
        label="minimum",
        zorder=4,
    )


def thin_out(n: int) -> np.ndarray:
    """Chooses at most 2,000 of n steps: the first 500, where most happens, and some to the last."""
    return np.union1d(np.arange(min(n, 500)), np.linspace(0, n - 1, min(n, 1500)).astype(int))


def draw_points(
    axes: Axes, places: np.ndarray, last: int, size: float = 30
) -> tuple[np.ndarray, int]:
    """Draws those of `places` [steps, 2] that lie within the axes, coloured by step up to `last`.

    Many points are an image in a vector file, which they would make large.

    Returns:
        The indices of what is drawn, and how many places lie outside the axes.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inside = np.flatnonzero(((places >= (left, bottom)) & (places <= (right, top))).all(axis=1))
    shown = inside[thin_out(len(inside))]
    many = len(shown) > 200
    # Dark dots beneath make an outline about all of them; one about each would hide its neighbours.
    axes.plot(
        *places[shown].T,
        "o",
        color="#222222",
        markersize=1.2 * size**0.5,
        zorder=2.5,
        rasterized=many,
    )
    axes.scatter(
        *places[shown].T,
        c=shown,
        cmap="viridis",
        vmin=0,
        vmax=max(1, last),
        s=size,
        linewidths=0,
        zorder=3,
        rasterized=many,
    )
    return shown, len(places) - len(inside)
