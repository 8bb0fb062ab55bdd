"""A small character transformer on the text of "Alice's Adventures in Wonderland"."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F

from tasks import text_data
from tasks.batches import Batches, InOrder
from tasks.gpt import GPT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVALUATION_BATCH = 128  # windows; only memory limits it


class Transformer(LightningModule):
    """Predicts each character from those before it, by the mean cross entropy, in nats a character.

    The text's first 80 % are for training, the next 10 % for validation, the last 10 % for the
    test. A batch is windows of context + 1 characters: the first `context` are what the net is
    given, the last `context` what it must predict, each from those up to its place. An epoch of
    training has every window once, wherever it begins; validation and test have windows side by
    side, so each of their characters is predicted once.

    Args:
        optimizer: makes the optimizer of the weights.
        width: numbers at each place, >= 1, a multiple of heads.
        layers: number of blocks, >= 1.
        heads: of each block's attention, >= 1.
        context: characters that the net sees, in [1, 10000].
        batch_size: windows per process and step, >= 1.
        seed: of the batches' order, >= 0.

    Raises:
        ValueError: a value out of its range, a damaged text.
        FileNotFoundError: no text.

    Reference: `tasks.gpt.GPT`; the text is `tasks.text_data`.
    """

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        context: int = 32,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"width": width, "layers": layers, "heads": heads, "batch_size": batch_size}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"Invalid {name}: {value} ({name} >= 1)")
        if width % heads:
            raise ValueError(f"Invalid width: {width} (a multiple of heads, {heads})")
        if not 1 <= context <= 10_000:
            raise ValueError(f"Invalid context: {context} (1 <= context <= 10000)")
        self.optimizer, self.batch_size, self.seed = optimizer, batch_size, seed
        text, self.alphabet = text_data.read()
        first, second = len(text) * 8 // 10, len(text) * 9 // 10
        self.train_windows = text[:first].unfold(0, context + 1, 1)  # a view: (windows, context+1)
        self.val_windows = text[first:second].unfold(0, context + 1, context)
        self.test_windows = text[second:].unfold(0, context + 1, context)
        self.net = GPT(len(self.alphabet), width, layers, heads, context)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of the weights."""
        return self.optimizer(self.parameters())

    def train_dataloader(self) -> Batches:
        """Shuffled windows of the first part."""
        return Batches(
            [self.train_windows],
            self.batch_size,
            shuffle=True,
            seed=self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def val_dataloader(self) -> InOrder:
        """The second part."""
        return self._in_order(self.val_windows)

    def test_dataloader(self) -> InOrder:
        """The third part."""
        return self._in_order(self.test_windows)

    def forward(self, characters: Tensor) -> Tensor:
        """Logits of the next character, shape (N, T, C), at each place of characters, (N, T)."""
        return self.net(characters)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of a batch of windows."""
        return self._shared_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of a batch of windows, logged."""
        return self._shared_step(batch, "val")

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of a batch of windows, logged."""
        return self._shared_step(batch, "test")

    def _shared_step(self, batch: tuple[Tensor, ...], stage: str) -> Tensor:
        (windows,) = batch
        logits = self(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        if stage != "train":
            self.log(f"{stage}/loss", loss, batch_size=len(windows), sync_dist=True)
        return loss

    def _in_order(self, windows: Tensor) -> InOrder:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return InOrder([windows], EVALUATION_BATCH, rank=rank, world_size=world_size)

    def figures(self, history: dict[str, list[tuple[int, float]]]) -> "dict[str, Figure]":
        """Curves of the training."""
        from scratchopt.pictures.curves import training_curves

        title = f"{type(self.trainer.optimizers[0]).__name__} on the transformer"
        return training_curves(history, title)
