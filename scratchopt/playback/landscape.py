"""A loss f: ℝⁿ → ℝ whose runs are played back, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm


@dataclass(frozen=True)
class Fit:
    """Data of one variable, and what a model makes of it at any θ.

    Args:
        x: of the data, shape (k,).
        y: of the data, shape (k,).
        grid: places at which the model is drawn, rising, shape (g,).
        predict: the model's y on the grid, shape (g,), at θ of shape (n,).
    """

    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    predict: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Landscape:
    """A loss f: ℝⁿ → ℝ and what is known of it.

    Args:
        title: what a page calls it.
        over: what its values are means of, if of anything.
        axes: names of the n numbers, if they are no more than two.
        loss: f of points, float64 of shape (k, n) to (k,).
        minimum: the least value, if it is known.
        minimizers: where, shape (m, n); m may be 0.
        window: (low, high) of each coordinate for a picture, shape (n, 2), if there is one.
        cheap: whether a point costs next to nothing.
        fit: the data that θ is fitted to, if the task shows them.
    """

    title: str
    over: str
    axes: list[str]
    loss: Callable[[np.ndarray], np.ndarray]
    minimum: float | None
    minimizers: np.ndarray
    window: np.ndarray | None
    cheap: bool
    fit: Fit | None = None


def evaluate_each(
    loss: Callable[[np.ndarray], np.ndarray], points: np.ndarray, what: str
) -> np.ndarray:
    """Evaluates the loss at points, (k, n) to (k,), with a progress bar on a terminal."""
    shown = tqdm(points, what, leave=False, disable=None)
    return np.concatenate([loss(point[None]) for point in shown])
