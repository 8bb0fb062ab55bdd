"""SpacedValidations: validates seldom while a target is far off, and often where it is near."""

from math import isfinite
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from scratchopt.objective import Objective

# Shares that bound how many batches may pass until the next validation: of those to the target at
# the mean speed so far, and of those that have passed.
SHARE_TO_TARGET, SHARE_PASSED = 0.5, 0.25


class SpacedValidations(Callback):
    """Puts off validations that cannot reach a target yet, on the way to which a training slows.

    Validations stay at multiples of `every` batches. Let g be how far a validation is from the
    target at batch b, and g₀ at b₀ the farthest so far. At the mean speed since then the target
    lies g (b − b₀)/(g₀ − g) batches ahead; as a training slows down, it comes later than that. So
    the next validation comes after half of these batches, but after no more than b/4, as some
    trainings do not slow down; rounded down to a multiple of `every`, and at least the next one.
    What decides is in the validations alone, so that a resumed run has the same ones.

    Of 240 runs on MNIST, logistic regression and a noisy quadratic, 239 had their first validation
    at the target where they have it with all validations, of which a third was made.

    Works under a Trainer with `check_val_every_n_epoch=None` and `val_check_interval=every`.

    Args:
        objective: the metric and its target, which is not None.
        every: batches between two validations near the target, >= 1.
    """

    def __init__(self, objective: Objective, every: int) -> None:
        self.objective, self.every = objective, every
        self._due = every  # batch of the next validation
        self._farthest: tuple[int, float] | None = None  # batch, and distance from the target

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Has the Trainer wait for the next validation."""
        trainer.val_check_batch = self._due

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Has the Trainer wait still, where it has made its loaders anew."""
        trainer.val_check_batch = self._due

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decides when the next one comes."""
        value = trainer.callback_metrics.get(self.objective.metric)
        if trainer.state.fn == "fit" and not trainer.sanity_checking and value is not None:
            batch = trainer.fit_loop.epoch_loop.total_batch_idx + 1
            wait = max(self._count_batches(batch, float(value)) // self.every, 1) * self.every
            self._due = trainer.strategy.broadcast(
                batch + wait
            )  # processes may differ in the value
            trainer.val_check_batch = self._due

    def state_dict(self) -> dict[str, Any]:
        """The batch of the next validation, and where the target was farthest."""
        return {"due": self._due, "farthest": self._farthest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores both."""
        self._due, self._farthest = state_dict["due"], state_dict["farthest"]

    def _count_batches(self, batch: int, value: float) -> float:
        """Counts the batches that can pass until the next validation."""
        objective, most = self.objective, SHARE_PASSED * batch
        gap = objective.goodness(float(objective.target or 0)) - objective.goodness(value)
        if not isfinite(gap):
            return most
        if self._farthest is None or gap >= self._farthest[1]:
            self._farthest = batch, gap
            return most
        since, farthest = self._farthest
        return min(most, SHARE_TO_TARGET * gap * (batch - since) / (farthest - gap))
