"""A small convolutional network on MNIST."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.classifier import Classifier


class CNN(Classifier):
    """Classifies digits by convolutions: 28 × 28 pixels → 14 × 14 → 7 × 7 → … → 10 classes.

    Each convolution is of 5 × 5 pixels and followed by ReLU. It moves by two pixels, so it halves
    both sides (rounding up), as pooling would after a convolution that costs four times as much. A
    linear layer reads what is left. The weights are torch's default draws, from torch's global
    generator; the loss is the cross entropy. The rest is as `tasks.mnist_task.MNISTTask` has it.

    Args:
        optimizer: makes the optimizer of the weights.
        channels: of each convolution, each >= 1; one convolution at least.
        batch_size: images per process and step, >= 1.
        validation_size: images kept for validation, in [1, 60000).
        data_dir: folder of the four MNIST files; None, the one that ships with the project.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a value out of its range; at `setup`, a damaged file.
        FileNotFoundError: a file that is not in data_dir.

    Reference: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86 (1998); Springenberg et al., "Striving for Simplicity:
    The All Convolutional Net", arXiv:1412.6806, for steps in place of pooling.
    """

    title = "the CNN"

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        channels: Sequence[int] = (8, 16),
        batch_size: int = 128,
        validation_size: int = 5000,
        data_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, batch_size, validation_size, data_dir, seed)
        if not channels or any(count < 1 for count in channels):
            raise ValueError(f"Invalid channels: {list(channels)} (one or more, each >= 1)")
        side, layers = 28, []
        for before, after in pairwise([1, *channels]):
            layers += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.ReLU()]
            side = (side + 1) // 2
        self.net = nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            *layers,
            nn.Flatten(),
            nn.Linear(channels[-1] * side**2, 10),
        )
