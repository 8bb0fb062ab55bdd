"""MNIST: handwritten digits, told apart by a multilayer perceptron."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tasks.choices import check_widths, choose
from tasks.classifier import Classifier

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}


class MNIST(Classifier):
    """Classifies digits: 784 pixels → hidden layers → 10 classes, by cross entropy.

    The weights are torch's default draws, from torch's global generator. The rest is as
    `tasks.mnist_task.MNISTTask` has it.

    Args:
        optimizer: makes the optimizer of the weights.
        hidden: widths of the hidden layers, each >= 1; none makes it softmax regression.
        activation: between the layers: relu, tanh, sigmoid or gelu.
        batch_size: images per process and step, >= 1.
        validation_size: images kept for validation, in [1, 60000).
        data_dir: folder of the four MNIST files; None, the one that ships with the project.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: an unknown activation, a value out of its range; at `setup`, a damaged file.
        FileNotFoundError: a file that is not in data_dir.
    """

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        hidden: Sequence[int] = (512, 256),
        activation: str = "relu",
        batch_size: int = 128,
        validation_size: int = 5000,
        data_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, batch_size, validation_size, data_dir, seed)
        check_widths(hidden)
        activate = choose("activation", activation, ACTIVATIONS)
        layers = [
            layer
            for inputs, outputs in pairwise([784, *hidden, 10])
            for layer in (nn.Linear(inputs, outputs), activate())
        ]
        self.net = nn.Sequential(*layers[:-1])

    def templates(self) -> Tensor:
        """The weights of the first layer's units."""
        return next(self.net.parameters())
