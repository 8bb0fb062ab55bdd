"""What all tasks on MNIST have in common: the data, the loaders, the steps."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from tasks import mnist_data
from tasks.batches import Batches, InOrder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN, STD = 0.1307, 0.3081  # of the training set's pixels, in [0, 1]
EVALUATION_BATCH = 2000  # images; only memory limits it


class MNISTTask(LightningModule):
    """Trains a network on MNIST's images, validates and tests it. A task says `loss`, and its net.

    The validation set is a fixed part of the 60,000 training images, the same for every seed; the
    10,000 test images serve nothing but the test.

    `train_set`, `val_set` and `test_set`, known after `setup`, are (images, labels): images
    float32 of shape (N, 784), as `pixels` makes them; labels int64 of shape (N,), 0…9.

    Args:
        optimizer: makes the optimizer of the weights.
        batch_size: images per process and step, >= 1.
        validation_size: images kept for validation, in [1, 60000).
        data_dir: folder of the four MNIST files; None, the one that ships with the project.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a value out of its range; at `setup`, a damaged file.
        FileNotFoundError: a file that is not in data_dir.
    """

    net: torch.nn.Module
    title = "MNIST"  # in pictures

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        batch_size: int,
        validation_size: int,
        data_dir: str | Path | None,
        seed: int,
    ) -> None:
        super().__init__()
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

    def pixels(self, images: Tensor) -> Tensor:
        """Pixels of mean 0 and deviation 1, shape (N, 784), from bytes of shape (N, 28, 28)."""
        return images.flatten(1).float().sub_(255 * MEAN).div_(255 * STD)

    def loss(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """What is minimized, 0-dim: the mean over the images of a batch."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Reads the data, once."""
        if hasattr(self, "train_set"):
            return
        data = mnist_data.read(self.data_dir)
        # Seeded with a constant: a seed changes the run, never the question.
        order = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))
        val, train = order[: self.validation_size], order[self.validation_size :]
        self.train_set = self.pixels(data.train_images[train]), data.train_labels[train]
        self.val_set = self.pixels(data.train_images[val]), data.train_labels[val]
        self.test_set = self.pixels(data.test_images), data.test_labels

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
        """What the net makes of images, shape (N, 784)."""
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self._shared_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch, logged with what else `measure` has."""
        return self._shared_step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch, logged with what else `measure` has."""
        return self._shared_step(batch, "test")

    def measure(self, outputs: Tensor, labels: Tensor, stage: str) -> None:
        """Logs what there is beside the loss of a batch of validation or test."""

    def _shared_step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, labels = batch
        outputs = self(images)
        loss = self.loss(outputs, images, labels)
        if stage != "train":
            self.log(f"{stage}/loss", loss, batch_size=len(labels), sync_dist=True)
            self.measure(outputs, labels, stage)
        return loss

    def _in_order(self, data: tuple[Tensor, Tensor]) -> InOrder:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return InOrder(data, EVALUATION_BATCH, rank=rank, world_size=world_size)

    def figures(self, history: dict[str, list[tuple[int, float]]]) -> "dict[str, Figure]":
        """Pictures of the training and of what the net makes of the digits, by name."""
        title = f"{type(self.trainer.optimizers[0]).__name__} on {self.title}"
        return self.drawn(history, title)

    def drawn(self, history: dict[str, list[tuple[int, float]]], title: str) -> "dict[str, Figure]":
        """The pictures, by name, under a title."""
        from scratchopt.pictures.curves import training_curves

        return training_curves(history, title)
