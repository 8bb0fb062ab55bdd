"""Pictures of MNIST's digits; they know data and outputs, but no task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scratchopt.pictures.curves import History, training_curves
from scratchopt.pictures.style import GREY, ORANGE, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 12  # of digits with their reconstructions


@house_style()
def classifier_figures(
    images: Tensor,
    labels: Tensor,
    logits: Tensor,
    templates: Tensor | None,
    history: History,
    title: str,
) -> dict[str, Figure]:
    """Draws `curves`, and where all logits are finite `mistakes`, and `weights` of given templates.

    `mistakes`: 40 digits, those that are wrong with most confidence first.
    `weights`: the templates with the largest norm, 96 at most, an image each.

    Args:
        images: of test digits; [N, 784].
        labels: of the digits; [N].
        logits: that the net gives them; [N, 10].
        templates: weights that can be seen as images, [units, 784]; None, if there are none.
        history: of the run.
        title: of each picture.
    """
    figures = training_curves(history, title)
    if logits.isfinite().all():
        figures["mistakes"] = _draw_mistakes(images, labels, logits, title)
        if templates is not None:
            figures["weights"] = _draw_weights(templates, title)
    return figures


@house_style()
def reconstruction_figures(
    images: Tensor, outputs: Tensor, history: History, title: str
) -> dict[str, Figure]:
    """Draws `curves`, and where all outputs are finite `reconstructions`.

    `reconstructions`: the digits, twelve in a row, and under each what the net makes of it.

    Args:
        images: of test digits, pixels in [0, 1]; [N, 784], N a multiple of twelve.
        outputs: of the net for them; [N, 784].
        history: of the run.
        title: of each picture.
    """
    figures = training_curves(history, title)
    if outputs.isfinite().all():
        rows = [digits.view(-1, COLUMNS, 784) for digits in (images, outputs)]
        tiles = 2 * torch.stack(rows, dim=1).reshape(-1, 784).numpy() - 1
        error = (images - outputs).square().sum(dim=1).mean()
        title = f"{title}: test digits, and under each its reconstruction (mean error {error:.1f})"
        figures["reconstructions"] = _draw_gallery(tiles, title, columns=COLUMNS, above=4, gap=4)[0]
    return figures


def _draw_mistakes(images: Tensor, labels: Tensor, logits: Tensor, title: str) -> Figure:
    confidence, read = logits.softmax(dim=1).max(dim=1)
    wrong = read != labels
    order = torch.where(wrong, 1 + confidence, 1 - confidence).argsort(descending=True)[:40]
    digits = images[order].numpy()
    tiles = 2 * (digits - digits.min()) / np.ptp(digits) - 1
    title = f"{title}: {int(wrong.sum()):,} of {len(labels):,} test digits misread"
    figure, axes = _draw_gallery(tiles, f"{title} (true→read, confidence)", columns=8, above=12)
    for k, i in enumerate(order.tolist()):
        text = f"{labels[i]}→{read[i]}  {confidence[i]:.0%}"
        x, y = 40 * (k % 8) + 20, 40 * (k // 8) + 8
        axes.text(x, y, text, ha="center", fontsize=9, color=ORANGE if wrong[i] else GREY)
    return figure


def _draw_weights(weight: Tensor, title: str) -> Figure:
    strongest = weight[weight.norm(dim=1).argsort(descending=True)[:96]].numpy()
    tiles = strongest / np.abs(strongest).max(axis=1, keepdims=True, initial=1e-30)
    title = f"{title}: weights of {len(tiles)} units on the pixels (black +, white −)"
    return _draw_gallery(tiles, title, columns=min(12, len(tiles)), above=2, gap=2)[0]


def _draw_gallery(
    tiles: np.ndarray, title: str, *, columns: int, above: int, gap: int = 12
) -> tuple[Figure, Axes]:
    """Images [N, 784], −1 white to 1 black, as tiles of above + 28 by 28 + gap pixels.

    The axes count in pixels, from the top left.
    """
    rows = -(-len(tiles) // columns)
    images = tiles.reshape(-1, 28, 28)
    pads = ((0, rows * columns - len(images)), (above, 0), (gap // 2, gap // 2))
    grid = np.pad(images, pads, constant_values=np.nan).reshape(rows, columns, above + 28, gap + 28)
    picture = grid.swapaxes(1, 2).reshape(rows * (above + 28), columns * (gap + 28))
    height = 7.7 * picture.shape[0] / picture.shape[1] + 0.6
    figure, (axes,) = new_figure(size=(8.0, height))
    figure.subplots_adjust(
        left=0.15 / 8, right=7.85 / 8, bottom=0.15 / height, top=1 - 0.45 / height
    )
    axes.imshow(picture, cmap="Greys", vmin=-1, vmax=1)
    axes.set_axis_off()
    axes.set_title(title)
    return figure, axes
