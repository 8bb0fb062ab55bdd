"""A line through points: the article's linear regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scratchopt.problems.functions import Function

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scratchopt.problems.descent import Descent


WINDOW = ((-6.0, 12.0), (-3.0, 14.0))  # of slope and intercept, for the article's start


@dataclass(frozen=True)
class LineData:
    """Points of a line with noise, and a line from which to start.

    Args:
        x: of the points; [N], float64.
        y: of the points; [N], float64.
        start: slope and intercept of the first line.
    """

    x: Tensor
    y: Tensor
    start: tuple[float, float]

    def mean_squared_error(self, theta: Tensor) -> Tensor:
        """The mean of (slope·x + intercept − y)² for each (slope, intercept): [..., 2] to [...]."""
        slope, intercept = theta.unsqueeze(-1).unbind(-2)
        return ((slope * self.x + intercept - self.y) ** 2).mean(-1)

    def least_squares(self) -> tuple[float, float]:
        """Slope and intercept of the best line, solved for directly."""
        columns = torch.stack([self.x, torch.ones_like(self.x)], dim=1)
        slope, intercept = np.linalg.lstsq(columns.numpy(), self.y.numpy(), rcond=None)[0].tolist()
        return slope, intercept

    def as_function(self) -> Function:
        """The mean squared error as a function of slope and intercept."""
        best = self.least_squares()
        window = tuple(
            (min(low, a - 1, b - 1), max(high, a + 1, b + 1))
            for (low, high), a, b in zip(WINDOW, self.start, best, strict=True)
        )
        return Function("regression", self.mean_squared_error, (best,), self.start, window)

    def figures(self, descent: Descent) -> dict[str, Figure]:
        """Draws `fit` and `curves` of a descent on `as_function()`, as in the figures of a run."""
        from scratchopt.problems.regression_figures import regression_figures

        series = {"train/loss": descent.losses, "train/gradnorm": descent.gradnorms}
        history = {tag: list(enumerate(values.tolist())) for tag, values in series.items()}
        slope, intercept = descent.end.tolist()
        title = f"{descent.method} on linear regression"
        return regression_figures(self.x, self.y, self.start, (slope, intercept), history, title)


def draw_line_data(seed: int = 0) -> LineData:
    """Draws the data: x = 2u, y = 4 + 3x + n, 100 draws of u uniform in [0, 1), n standard normal.

    Slope and intercept start at 12 and −9 times a standard normal draw. For seed 0 all are the
    article's, which uses NumPy's legacy generator in this order.

    Args:
        seed: in [0, 2³²).
    """
    random = np.random.RandomState(seed)
    x = 2 * random.rand(100)
    y = 4 + 3 * x + random.randn(100)
    slope, intercept = random.randn() * 12, random.randn() * -9
    return LineData(torch.from_numpy(x), torch.from_numpy(y), (float(slope), float(intercept)))
