"""Pictures of a line fitted to points, and of the way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from scratchopt.pictures.curves import History, draw_curve, label_steps
from scratchopt.pictures.style import BLACK, BLUE, GREY, ORANGE, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@house_style()
def regression_figures(
    x: Tensor,
    y: Tensor,
    first: tuple[float, float],
    last: tuple[float, float],
    history: History,
    title: str,
) -> dict[str, Figure]:
    """Draws `fit`, the data and three lines, and `curves`, loss and gradnorm over the steps.

    The lines are that of the start, the fit, and least squares.

    Args:
        x: of the data; [N].
        y: of the data; [N].
        first: slope and intercept at the start.
        last: slope and intercept of the fit; a line that is not finite is not drawn.
        history: of the run.
        title: of each picture.
    """
    figure, (axes,) = new_figure()
    xs, ys = x.double().numpy(force=True), y.double().numpy(force=True)
    axes.plot(xs, ys, "o", color=BLUE, alpha=0.6, markeredgewidth=0, label="data")
    best = np.polyfit(xs, ys, 1)
    lines = {
        "start": (*first, BLACK, ":"),
        "least squares": (*best, GREY, "--"),
        "fit": (*last, ORANGE, "-"),
    }
    for name, (a, b, color, style) in lines.items():
        if np.isfinite([a, b]).all():
            label = f"{name}: y = {a:.4g} x {'−' if b < 0 else '+'} {abs(b):.4g}".replace("-", "−")
            axes.axline((0, b), slope=a, color=color, linestyle=style, linewidth=2, label=label)
    margin = 0.1 * np.ptp(ys)
    reach = np.ptp(ys)  # a far start is seen where it comes near the data
    start = np.polyval(first, [xs.min(), xs.max()])
    low = min(ys.min(), max(start.min(), ys.min() - reach)) - margin
    high = max(ys.max(), min(start.max(), ys.max() + reach)) + margin
    axes.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    axes.set(xlabel="x", ylabel="y", title=title)
    axes.legend(loc="upper left")
    figures = {"fit": figure}
    if history.get("train/loss") and history.get("train/gradnorm"):
        figures["curves"], (left, right) = new_figure(1, 2, (10.0, 4.0))
        draw_curve(left, history["train/loss"], "loss", log_from=3)
        draw_curve(right, history["train/gradnorm"], "gradnorm ‖g‖")
        left.set_title(title)
        label_steps(left)
        label_steps(right)
    return figures
