"""Logistic regression on MNIST: a convex problem of a real size."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tasks.classifier import Classifier


class LogisticRegression(Classifier):
    """Classifies digits by softmax regression: the mean of −log softmax(Wx + b)[label].

    W has the shape (10, 784), b (10,), and both start at zero, where every class has the
    probability 1/10. The loss is convex, and its minimum lies far off, since pixels that never
    vary leave directions without any curvature. The rest is as `tasks.mnist_task.MNISTTask` has it.

    Args:
        optimizer: makes the optimizer of W and b.
        batch_size: images per process and step, >= 1.
        validation_size: images kept for validation, in [1, 60000).
        data_dir: folder of the four MNIST files; None, the one that ships with the project.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a value out of its range; at `setup`, a damaged file.
        FileNotFoundError: a file that is not in data_dir.

    Reference: Bishop, "Pattern Recognition and Machine Learning" (2006), section 4.3.4.
    """

    title = "logistic regression"

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        batch_size: int = 128,
        validation_size: int = 5000,
        data_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, batch_size, validation_size, data_dir, seed)
        self.net = nn.Linear(784, 10)
        for parameter in self.net.parameters():
            nn.init.zeros_(parameter)

    def templates(self) -> Tensor:
        """W, an image for each digit."""
        return next(self.net.parameters())
