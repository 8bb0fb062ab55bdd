"""Linear regression: a line through the article's hundred points."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from scratchopt.batches import Batches, Endless, InOrder
from scratchopt.problems.regression import draw_line_data
from tasks.choices import DTYPES, choose

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LinearRegression(LightningModule):
    """Fits slope and intercept of ŷ = slope·x + intercept to data of a line with noise.

    Data and start are `scratchopt.problems.regression`'s; for data_seed 0 they are the article's.

    Args:
        optimizer: makes the optimizer of slope and intercept.
        loss: mse, the mean of r² (no ½); mae, of |r|; huber, of r²/2 up to δ and δ(|r| − δ/2)
            beyond, where r = ŷ − y.
        batch_size: points per process and step, >= 1; None, all of them, without end: then
            `max_steps` is the length of the run.
        dtype: of data and parameters, float32 or float64.
        data_seed: of the data and the first parameters, in [0, 2³²).
        seed: of the mini-batches, >= 0.
        huber_delta: δ > 0.

    Raises:
        ValueError: an unknown name, a value out of its range.
    """

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        loss: str = "mse",
        batch_size: int | None = None,
        dtype: str = "float64",
        data_seed: int = 0,
        seed: int = 0,
        huber_delta: float = 1.0,
    ) -> None:
        super().__init__()
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"Invalid batch_size: {batch_size} (batch_size >= 1, or None for all)")
        if not huber_delta > 0:
            raise ValueError(f"Invalid huber_delta: {huber_delta} (huber_delta > 0)")
        losses = {
            "mse": F.mse_loss,
            "mae": F.l1_loss,
            "huber": partial(F.huber_loss, delta=huber_delta),
        }
        self.optimizer = optimizer
        self.loss = choose("loss", loss, losses)
        self.batch_size, self.seed = batch_size, seed
        kind = choose("dtype", dtype, DTYPES)
        drawn = draw_line_data(data_seed)
        self.data = drawn.x.to(kind), drawn.y.to(kind)
        self.start = drawn.start
        self.slope, self.intercept = (Parameter(torch.tensor(p, dtype=kind)) for p in self.start)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of slope and intercept."""
        return self.optimizer(self.parameters())

    def train_dataloader(self) -> Batches | Endless:
        """(x, y), whole or in shuffled mini-batches."""
        if self.batch_size is None:
            return Endless(self.data)
        return Batches(
            self.data,
            self.batch_size,
            shuffle=True,
            seed=self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def test_dataloader(self) -> InOrder:
        """(x, y), whole."""
        return InOrder(self.data, len(self.data[0]))

    def fitted_data(self) -> tuple[Tensor, Tensor]:
        """The data (x, y), whole, over which playback moves the line."""
        return self.data

    def forward(self, x: Tensor) -> Tensor:
        """ŷ at each x."""
        return self.slope * x + self.intercept

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self._shared_step(batch, "train")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of all data, logged."""
        return self._shared_step(batch, "test")

    def _shared_step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        x, y = batch
        loss = self.loss(self(x), y)
        if stage != "train":
            self.log(f"{stage}/loss", loss, batch_size=len(x), sync_dist=True)
        return loss

    def figures(self, history: dict[str, list[tuple[int, float]]]) -> "dict[str, Figure]":
        """Pictures of the line and of the way to it, by name."""
        from scratchopt.problems.regression_figures import regression_figures

        x, y = self.data
        title = f"{type(self.trainer.optimizers[0]).__name__} on linear regression"
        last = self.slope.item(), self.intercept.item()
        return regression_figures(x, y, self.start, last, history, title)
