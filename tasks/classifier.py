"""The common part of all tasks that tell MNIST's digits apart."""

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from tasks.mnist_task import MNISTTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Classifier(MNISTTask):
    """Classifies digits, 784 pixels → 10 numbers, by cross entropy, and counts those read right.

    Args:
        data: as `MNISTTask` takes it.
    """

    def __init__(self, *data: Any) -> None:
        super().__init__(*data)
        self.val_accuracy = MulticlassAccuracy(10, average="micro")
        self.test_accuracy = MulticlassAccuracy(10, average="micro")

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of logits, shape (N, 10)."""
        return F.cross_entropy(outputs, targets)

    def measure(self, outputs: Tensor, targets: Tensor, stage: str) -> None:
        """Logs the accuracy: the largest output says what is read."""
        accuracy = self.val_accuracy if stage == "val" else self.test_accuracy
        accuracy(outputs, targets)
        self.log(f"{stage}/accuracy", accuracy, batch_size=len(targets))

    def templates(self) -> Tensor | None:
        """Weights that are seen as images, (units, 784): those on the pixels; None, if none are."""
        return None

    def draw(self, history: dict[str, list[tuple[int, float]]], title: str) -> "dict[str, Figure]":
        """Draws curves, the digits that were misread, and the templates."""
        from tasks.figures import classifier_figures

        images, labels = self.test_set
        logits, templates = self.predict(images), self.templates()
        if templates is not None:
            templates = templates.detach().float().cpu()
        return classifier_figures(images, labels, logits, templates, history, title)
