"""What all tasks have in common that tell MNIST's digits apart."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from tasks.mnist_task import MNISTTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Classifier(MNISTTask):
    """Classifies digits, 784 pixels → 10 numbers, by cross entropy, and counts those read right.

    Args:
        optimizer: makes the optimizer of the weights.
        batch_size: images per process and step, >= 1.
        validation_size: images kept for validation, in [1, 60000).
        data_dir: folder of the four MNIST files; None, the one that ships with the project.
        seed: of the batches' order, >= 0.
    """

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        batch_size: int,
        validation_size: int,
        data_dir: str | Path | None,
        seed: int,
    ) -> None:
        super().__init__(optimizer, batch_size, validation_size, data_dir, seed)
        self.val_accuracy = MulticlassAccuracy(10, average="micro")
        self.test_accuracy = MulticlassAccuracy(10, average="micro")

    def loss(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of logits, shape (N, 10)."""
        return F.cross_entropy(outputs, labels)

    def measure(self, outputs: Tensor, labels: Tensor, stage: str) -> None:
        """Logs the accuracy: the largest output says what is read."""
        accuracy = self.val_accuracy if stage == "val" else self.test_accuracy
        accuracy(outputs, labels)
        self.log(f"{stage}/accuracy", accuracy, batch_size=len(labels))

    def templates(self) -> Tensor | None:
        """Weights that are seen as images, (units, 784): those on the pixels; None, if none are."""
        return None

    def drawn(self, history: dict[str, list[tuple[int, float]]], title: str) -> "dict[str, Figure]":
        """Curves, the digits that were misread, and the templates."""
        from tasks.figures import mnist_figures

        return mnist_figures(self, history, title)
