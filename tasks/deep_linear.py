"""A deep linear network on MNIST: least squares, made hard by writing a matrix as a product."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.choices import check_widths
from tasks.classifier import Classifier


class DeepLinear(Classifier):
    """Classifies digits by ŷ = W_L ⋯ W₂W₁x, with the mean of ½‖ŷ − y‖², y one-hot, as loss.

    There is nothing between the layers and no bias, so the net can do no more than one matrix of
    shape (10, 784); but the loss is not convex in its factors. 0 is a saddle point, around which
    the start lies the closer the smaller `gain` is, and where a run stays long.

    Each W starts orthogonal (if it is not square, with orthonormal rows or columns) times gain, by
    torch's global generator. The largest output says which digit is read. The rest is as
    `tasks.mnist_task.MNISTTask` has it.

    Args:
        optimizer: makes the optimizer of the weights.
        hidden: widths of the layers between pixels and outputs, each >= 1; none makes it least
            squares.
        gain: of each matrix at the start, > 0.
        batch_size: images per process and step, >= 1.
        validation_size: images kept for validation, in [1, 60000).
        data_dir: folder of the four MNIST files; None, the one that ships with the project.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a value out of its range; at `setup`, a damaged file.
        FileNotFoundError: a file that is not in data_dir.

    Reference: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", arXiv:1312.6120.
    """

    title = "the deep linear net"

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        hidden: Sequence[int] = (32, 32, 32),
        gain: float = 0.5,
        batch_size: int = 128,
        validation_size: int = 5000,
        data_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, batch_size, validation_size, data_dir, seed)
        check_widths(hidden)
        if not gain > 0:
            raise ValueError(f"Invalid gain: {gain} (gain > 0)")
        layers = [nn.Linear(*sides, bias=False) for sides in pairwise([784, *hidden, 10])]
        for layer in layers:
            nn.init.orthogonal_(layer.weight, gain)
        self.net = nn.Sequential(*layers)

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the images of ½‖ŷ − y‖², y one-hot."""
        return (outputs - F.one_hot(targets, 10)).square().sum(dim=1).mean() / 2

    def templates(self) -> Tensor:
        """The product of all matrices, an image for each digit."""
        product = torch.eye(784).to(next(self.parameters()))
        return self.net(product).T
