"""Convergence: ends a run at the first evaluated point that is near enough to a solution."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from scratchopt.lightning.updates import Updates
from scratchopt.optimizer import Optimizer as OurOptimizer


class Convergence(Callback):
    """Stops the run when `distance(module) <= tolerance`.

    It asks after the backward pass and before the update: the module is then at the point where
    the gradient was evaluated, for an exact NAG the lookahead point; but for Schedule-Free, whose
    gradients are taken far from it, at the average that the run would end with. That update is not
    made, so evaluations exceed updates by one, and the callback has `converged` set.

    Args:
        tolerance: the distance that is near enough, in the distance's own unit; >= 0.
        distance: of a module: a number or 0-dim tensor, such as the norm of θ − θ*, or a gradnorm.
    """

    def __init__(
        self, tolerance: float, distance: Callable[[LightningModule], float | Tensor]
    ) -> None:
        self.tolerance = tolerance
        self.distance = distance
        self.converged = False
        self._updates = Updates()

    @torch.no_grad()
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Breaks off the training loop within tolerance."""
        far = None
        if isinstance(optimizer, OurOptimizer) and optimizer.averages and optimizer.ahead:
            far = optimizer
            far.restore_()
        near = self.distance(pl_module) <= self.tolerance
        if far:
            far.lookahead_()
        if near:
            self.converged = True
            trainer.should_stop = True
            raise StopIteration  # as when on_train_batch_start returns -1: the epoch ends here

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets an earlier fit's convergence."""
        self.converged = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves a run alone that had converged when it was saved."""
        trainer.should_stop = trainer.should_stop or self.converged
        self._updates.watch(trainer, pl_module, self.on_before_optimizer_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the optimizers as they were."""
        self._updates.unwatch()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Leaves the optimizers as they were."""
        self._updates.unwatch()

    def state_dict(self) -> dict[str, Any]:
        """The fact of convergence."""
        return {"converged": self.converged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the fact of convergence."""
        self.converged = state_dict["converged"]
