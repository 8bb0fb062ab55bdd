"""MNIST: handwritten digits, told apart by a multilayer perceptron."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from tasks import mnist_data
from tasks.batches import Batches, InOrder
from tasks.choices import choose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}
MEAN, STD = 0.1307, 0.3081  # of the training set's pixels, in [0, 1]
EVALUATION_BATCH = 2000  # images; only memory limits it


class MNIST(LightningModule):
    """Classifies digits: 784 pixels → hidden layers → 10 classes, by cross entropy.

    The validation set is a fixed part of the 60,000 training images, the same for every seed; the
    10,000 test images serve nothing but the test. The weights are torch's default draws, from
    torch's global generator.

    `train_set`, `val_set` and `test_set`, known after `setup`, are (images, labels): images
    float32 of shape (N, 784), of mean 0 and deviation 1; labels int64 of shape (N,), 0…9.

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
        super().__init__()
        if any(width < 1 for width in hidden):
            raise ValueError(f"Invalid hidden: {list(hidden)} (each width >= 1)")
        if batch_size < 1:
            raise ValueError(f"Invalid batch_size: {batch_size} (batch_size >= 1)")
        if not 1 <= validation_size < 60_000:
            raise ValueError(
                f"Invalid validation_size: {validation_size} (1 <= validation_size < 60000)"
            )
        mnist_data.find(data_dir)  # now, not when half the run is set up
        self.optimizer = optimizer
        self.batch_size, self.validation_size = batch_size, validation_size
        self.data_dir, self.seed = data_dir, seed
        activate = choose("activation", activation, ACTIVATIONS)
        layers = [
            layer
            for inputs, outputs in pairwise([784, *hidden, 10])
            for layer in (nn.Linear(inputs, outputs), activate())
        ]
        self.net = nn.Sequential(*layers[:-1])
        self.val_accuracy = MulticlassAccuracy(10, average="micro")
        self.test_accuracy = MulticlassAccuracy(10, average="micro")

    def setup(self, stage: str) -> None:
        """Reads the data, once."""
        if hasattr(self, "train_set"):
            return
        data = mnist_data.read(self.data_dir)
        # Seeded with a constant: a seed changes the run, never the question.
        order = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))
        val, train = order[: self.validation_size], order[self.validation_size :]
        self.train_set = _normalise(data.train_images[train]), data.train_labels[train]
        self.val_set = _normalise(data.train_images[val]), data.train_labels[val]
        self.test_set = _normalise(data.test_images), data.test_labels

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of the weights."""
        return self.optimizer(self.parameters())

    def train_dataloader(self) -> Batches:
        """Shuffled mini-batches of the training set."""
        return Batches(
            self.train_set,
            self.batch_size,
            shuffle=True,
            seed=self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def val_dataloader(self) -> InOrder:
        """The validation set."""
        return self._in_order(self.val_set)

    def test_dataloader(self) -> InOrder:
        """The test set."""
        return self._in_order(self.test_set)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (N, 10), of images, shape (N, 784)."""
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self._shared_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch; loss and accuracy are logged."""
        return self._shared_step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch; loss and accuracy are logged."""
        return self._shared_step(batch, "test")

    def _shared_step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        if stage != "train":
            accuracy = self.val_accuracy if stage == "val" else self.test_accuracy
            accuracy(logits, labels)
            self.log(f"{stage}/loss", loss, batch_size=len(labels), sync_dist=True)
            self.log(f"{stage}/accuracy", accuracy, batch_size=len(labels))
        return loss

    def _in_order(self, data: tuple[Tensor, Tensor]) -> InOrder:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return InOrder(data, EVALUATION_BATCH, rank=rank, world_size=world_size)

    def figures(self, history: dict[str, list[tuple[int, float]]]) -> "dict[str, Figure]":
        """Pictures of the training and of what the net makes of the digits, by name."""
        from tasks.figures import mnist_figures

        title = f"{type(self.trainer.optimizers[0]).__name__} on MNIST"
        return mnist_figures(self, history, title)


def _normalise(images: Tensor) -> Tensor:
    """Pixels of mean 0 and deviation 1, shape (N, 784), from bytes of shape (N, 28, 28)."""
    return images.flatten(1).float().sub_(255 * MEAN).div_(255 * STD)
