"""The noisy quadratic: an ill-conditioned bowl whose gradient is only known up to noise."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import Parameter

from scratchopt.batches import Draws, InOrder
from tasks.choices import DTYPES, choose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 100  # in what is called an epoch; the noise never repeats


class NoisyQuadratic(LightningModule):
    """Minimizes f(θ) = ½ θᵀHθ, θ in ℝᵈ, from gradients Hθ + ε with ε ~ N(0, noise²·H/batch_size).

    H = QᵀΛQ. Λ's eigenvalues are log-spaced from 1 down to 1/condition_number; Q is I, or a fixed
    random rotation. Each draw ξ ~ N(0, I) of a batch has the loss f(θ) + noise·ξᵀΛ^½Qθ, so the
    batch's mean has the gradient above. Noise in the shape of the curvature is what a network's
    minibatches come near to; it lets the loss fall no further than lr, momentum and batch_size
    allow, so both speed and a small step count. θ starts where Qθ = (1, …, 1).

    Validation and test have f(θ) itself, without noise: the expected loss, of minimum 0.

    Args:
        optimizer: makes the optimizer of θ.
        dim: d >= 1.
        condition_number: of H, >= 1.
        noise: standard deviation of the gradient's noise, in units of the root of the curvature;
            >= 0.
        rotated: whether Q is a rotation. Where it is not, the axes are H's eigenvectors, as in the
            papers; that suits methods with a step size for each coordinate.
        batch_size: draws per process and step, >= 1.
        dtype: of θ, float32 or float64.
        seed: of the noise, >= 0.

    Raises:
        ValueError: a value out of its range, an unknown dtype.

    Reference: Zhang et al., "Which Algorithmic Choices Matter at Which Batch Sizes? Insights From a
    Noisy Quadratic Model", arXiv:1907.04164, after Schaul, Zhang and LeCun, "No More Pesky Learning
    Rates", arXiv:1206.1106. There the eigenvalues are 1/i; here the condition number can be chosen.
    """

    theta: Tensor
    eigenvalues: Tensor
    rotation: Tensor | None

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        dim: int = 100,
        condition_number: float = 300.0,
        noise: float = 0.01,
        rotated: bool = True,
        batch_size: int = 1,
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"Invalid {name}: {value} ({name} >= 1)")
        if not condition_number >= 1:
            raise ValueError(
                f"Invalid condition_number: {condition_number} (condition_number >= 1)"
            )
        if not noise >= 0:
            raise ValueError(f"Invalid noise: {noise} (noise >= 0)")
        self.optimizer, self.noise = optimizer, noise
        self.batch_size, self.seed = batch_size, seed
        kind = choose("dtype", dtype, DTYPES)
        powers = torch.linspace(0, -1, dim, dtype=torch.float64)
        values, start = condition_number**powers, torch.ones(dim, dtype=torch.float64)
        rotation = None
        if rotated:  # with a constant seed: a seed changes the run, never the question
            generator = torch.Generator().manual_seed(0)
            normal = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
            rotation, _ = torch.linalg.qr(normal)
            start = rotation.T @ start
            rotation = rotation.to(kind)
        self.register_buffer("eigenvalues", values.to(kind), persistent=False)
        self.register_buffer("rotation", rotation, persistent=False)
        self.theta = Parameter(start.to(kind))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of θ."""
        return self.optimizer(self.parameters())

    def train_dataloader(self) -> Draws:
        """The noise: batches of draws ξ, shape (batch_size, d)."""
        return Draws(
            STEPS,
            self.batch_size,
            len(self.eigenvalues),
            seed=self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def val_dataloader(self) -> InOrder:
        """An empty batch, once: the expected loss needs no data."""
        return self._nothing()

    def test_dataloader(self) -> InOrder:
        """An empty batch, once: the expected loss needs no data."""
        return self._nothing()

    def forward(self, draws: Tensor | None = None) -> Tensor:
        """f(θ), 0-dim; with draws, shape (batch_size, d), the mean of their losses."""
        z = self.theta if self.rotation is None else self.rotation @ self.theta
        expected = (self.eigenvalues * z**2).sum() / 2
        if draws is None:
            return expected
        return expected + self.noise * (draws.to(z).mean(dim=0) * self.eigenvalues.sqrt() * z).sum()

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of a batch of draws."""
        return self(*batch)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The expected loss, logged."""
        return self._expected("val")

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The expected loss, logged."""
        return self._expected("test")

    def _expected(self, stage: str) -> Tensor:
        loss = self()
        self.log(f"{stage}/loss", loss, batch_size=1, sync_dist=True)
        return loss

    def _nothing(self) -> InOrder:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return InOrder([torch.empty(world_size, 0)], 1, rank=rank, world_size=world_size)

    def figures(self, history: dict[str, list[tuple[int, float]]]) -> "dict[str, Figure]":
        """Curves of the training."""
        from scratchopt.pictures.curves import training_curves

        title = f"{type(self.trainer.optimizers[0]).__name__} on the noisy quadratic"
        return training_curves(history, title)
