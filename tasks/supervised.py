"""The common part of tasks that train a net on data in memory: the loaders and the steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from scratchopt.batches import Batches, InOrder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Supervised(LightningModule, ABC):
    """Trains a net on pairs of an input and a target, validates and tests it.

    A task gives it the `net`, the `loss`, and three sets, (inputs, targets) of equal first
    dimension each: `train_set`, of which batches are shuffled, `val_set` and `test_set`.

    Args:
        optimizer: makes the optimizer of the weights.
        batch_size: pairs per process and step, >= 1.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a batch_size below 1.
    """

    net: nn.Module
    train_set: tuple[Tensor, Tensor]
    val_set: tuple[Tensor, Tensor]
    test_set: tuple[Tensor, Tensor]
    title: str  # in pictures
    evaluation_batch = 2000  # pairs; only memory limits it

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"Invalid batch_size: {batch_size} (batch_size >= 1)")
        self.optimizer, self.batch_size, self.seed = optimizer, batch_size, seed

    @abstractmethod
    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that is minimized, 0-dim: the mean over the pairs of a batch."""

    def measure(self, outputs: Tensor, targets: Tensor, stage: str) -> None:
        """Logs what there is beside the loss of a batch of validation or test."""

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

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Moves a batch to the device, if it is not there, which Lightning takes long to find."""
        if all(isinstance(part, Tensor) and part.device == device for part in batch):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def forward(self, inputs: Tensor) -> Tensor:
        """The net's outputs for inputs, in batches along the first dimension."""
        return self.net(inputs)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self._shared_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch, logged with what else `measure` has."""
        return self._shared_step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch, logged with what else `measure` has."""
        return self._shared_step(batch, "test")

    def _shared_step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        inputs, targets = batch
        outputs = self(inputs)
        loss = self.loss(outputs, inputs, targets)
        if stage != "train":
            self.log(f"{stage}/loss", loss, batch_size=len(inputs), sync_dist=True)
            self.measure(outputs, targets, stage)
        return loss

    def _in_order(self, data: tuple[Tensor, Tensor]) -> InOrder:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return InOrder(data, self.evaluation_batch, rank=rank, world_size=world_size)

    def figures(self, history: dict[str, list[tuple[int, float]]]) -> "dict[str, Figure]":
        """Pictures of the training and of what the net has learned, by name."""
        title = f"{type(self.trainer.optimizers[0]).__name__} on {self.title}"
        return self.draw(history, title)

    def draw(self, history: dict[str, list[tuple[int, float]]], title: str) -> "dict[str, Figure]":
        """Draws the pictures, by name, under a title."""
        from scratchopt.pictures.curves import training_curves

        return training_curves(history, title)
