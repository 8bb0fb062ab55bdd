"""The toy task: a function of one or two variables, whose every step can be seen."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from scratchopt.batches import Endless
from scratchopt.lightning import Convergence
from scratchopt.lightning.shards import full_gradient, full_tensor, has_gradient
from scratchopt.problems.functions import functions
from tasks.choices import DTYPES, choose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORDED = 10_000  # points that a picture can hold; about 10 MB


class Toy(LightningModule):
    """Minimizes a function f(x) until x is within `tolerance` of a global minimizer.

    `trajectory` and `gradients` have the points where the gradient was evaluated and the gradients
    there, shape (dim,) each, of the first 10,000 steps; `iterates` has x itself before each of
    these steps. For an exact NAG the evaluated points are the lookahead points, for the others x.

    Args:
        optimizer: makes the optimizer of the parameters.
        function: article, rosenbrock, rastrigin, beale or quadratic (`problems.functions`).
        start: the first x, one number per variable, or just the number for the article's function;
            None, the function's own, which the attribute `start` then has.
        tolerance: the distance to a global minimizer, in the max-norm, that ends the run; >= 0.
        dtype: of x, float32 or float64.
        condition_number: of the quadratic, >= 1.

    Raises:
        ValueError: an unknown name, a start of the wrong length, a value out of its range.
    """

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        function: str = "article",
        start: float | Sequence[float] | None = None,
        tolerance: float = 1e-6,
        dtype: str = "float32",
        condition_number: float = 100.0,
    ) -> None:
        super().__init__()
        if not tolerance >= 0:
            raise ValueError(f"Invalid tolerance: {tolerance} (tolerance >= 0)")
        self.optimizer = optimizer
        self.function = choose("function", function, functions(condition_number))
        self.tolerance = tolerance
        if start is None:
            start = list(self.function.start) if self.function.dim > 1 else self.function.start[0]
        self.start = start
        first = torch.atleast_1d(torch.tensor(start, dtype=choose("dtype", dtype, DTYPES)))
        if first.shape != (self.function.dim,):
            raise ValueError(
                f"Invalid start: {start} (numbers for {function}: {self.function.dim}, "
                f"such as {list(self.function.start)})"
            )
        if not first.isfinite().all():
            raise ValueError(f"Invalid start: {start} (finite numbers in {dtype})")
        self.x = torch.nn.Parameter(first)
        self.trajectory: list[Tensor] = []
        self.gradients: list[Tensor] = []
        self.iterates: list[Tensor] = []
        self._iterate = first

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of x."""
        return self.optimizer(self.parameters())

    def configure_callbacks(self) -> list[Convergence]:
        """The end of the run, within tolerance."""
        return [Convergence(self.tolerance, lambda _: self.distance())]

    def train_dataloader(self) -> Endless:
        """An empty batch, again and again: the function needs no data."""
        return Endless(torch.empty(0))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """f(x), 0-dim."""
        return self.function(self.x)

    def distance(self) -> Tensor:
        """Max-norm distance of x to the nearest global minimizer, 0-dim."""
        return self.function.distance(full_tensor(self.x))

    def on_train_start(self) -> None:
        """Notes x before the first step."""
        self._iterate = full_tensor(self.x).clone()

    def on_after_backward(self) -> None:
        """Records the evaluated point: here x is still where its gradient was taken."""
        if has_gradient(self.x) and len(self.trajectory) < RECORDED:
            self.trajectory.append(full_tensor(self.x).clone())
            self.gradients.append(full_gradient(self.x).clone())
            self.iterates.append(self._iterate)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Notes x after the step, when callbacks such as `Lookahead` have put it back."""
        if len(self.trajectory) < RECORDED:
            self._iterate = full_tensor(self.x).clone()

    def on_train_epoch_end(self) -> None:
        """Notes where the run has ended, for its result: the epoch is all of it."""
        for name, value in zip("xy", full_tensor(self.x), strict=False):
            self.log(f"train/{name}", value, batch_size=1, logger=False, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the record, so that a resumed run knows the whole path."""
        checkpoint["path"] = self._stack(self.trajectory), self._stack(self.gradients)
        checkpoint["iterates"] = self._stack(self.iterates)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continues a saved record."""
        self.trajectory, self.gradients = map(list, checkpoint["path"])
        unknown = torch.full_like(checkpoint["path"][0], torch.nan)  # to an older version
        self.iterates = list(checkpoint.get("iterates", unknown))

    def figures(self, history: dict[str, list[tuple[int, float]]]) -> "dict[str, Figure]":
        """Pictures of the path, by name; none before the first step."""
        from scratchopt.problems.descent_figures import descent_figures

        if not self.trajectory:
            return {}
        points, iterates = self._stack(self.trajectory), self._stack(self.iterates)
        title = f"{type(self.trainer.optimizers[0]).__name__} on {self.function.title}"
        return descent_figures(self.function, points, self.function(points), iterates, title)

    def _stack(self, rows: list[Tensor]) -> Tensor:
        """The rows as one tensor of shape (steps, dim), on the CPU: those loaded are there."""
        return (
            torch.stack([row.cpu() for row in rows]) if rows else self.x.new_empty(0, len(self.x))
        )
