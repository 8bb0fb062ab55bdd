"""The article's linear regression: its hundred points, and their loss as a function."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scratchopt.problems.functions import Function


class LineData(NamedTuple):
    """Points of a line with noise, and where a fit starts.

    Args:
        x: of each point, shape (100,).
        y: of each point, shape (100,).
        start: the first slope and intercept.
    """

    x: np.ndarray
    y: np.ndarray
    start: tuple[float, float]


def draw_line_data(seed: int = 0) -> LineData:
    """Draws x = 2u and y = 4 + 3x + n, with u uniform in [0, 1) and n standard normal.

    Slope and intercept start at 12 and −9 times a standard normal draw. For seed 0 all are the
    article's, whose order of the draws, and legacy generator, these are.
    """
    random = np.random.RandomState(seed)
    x = 2 * random.rand(100)
    y = 4 + 3 * x + random.randn(100)
    return LineData(x, y, (float(random.randn() * 12), float(random.randn() * -9)))


def regression() -> Function:
    """Makes the mean squared error of the article's points, a function of slope and intercept."""
    data = draw_line_data()
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)

    def mean_squared_error(theta: Tensor) -> Tensor:
        slope, intercept = theta.unsqueeze(-1).unbind(-2)
        return ((slope * x + intercept - y) ** 2).mean(-1)

    slope, intercept = np.polyfit(data.x, data.y, 1)
    window = ((-6.0, 12.0), (-3.0, 14.0))  # of slope and intercept
    least_squares = (float(slope), float(intercept))
    return Function("regression", mean_squared_error, (least_squares,), data.start, window)
