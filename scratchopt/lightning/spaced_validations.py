"""SpacedValidations: validates seldom while a target is far off, and often where it is near."""

from math import isfinite
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from scratchopt.objective import Objective

CAREFUL = 0.75  # of the way to where the target would be reached at the mean speed so far
FARTHEST = 0.25  # of the batches so far, that are at most to go until the next validation


class SpacedValidations(Callback):
    """Puts off validations that cannot reach a target yet, on the way to which a training slows.

    Validations stay at multiples of `every` batches. Let g be how far a validation is from the
    target at batch b, and g₀ at b₀ the farthest so far. At the mean speed since then the target
    lies g (b − b₀)/(g₀ − g) batches ahead; as a training slows down, it comes later than that. So
    the next validation comes after 3/4 of these batches, but not after more than a quarter of b, as
    some trainings do not slow down; rounded down to a multiple of `every`, and at least the next
    one. What decides is in the validations alone, so that a resumed run has the same ones.

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
            # processes may differ in the value
            self._due = trainer.strategy.broadcast(self.find_next(batch, float(value)))
            trainer.val_check_batch = self._due

    def find_next(self, batch: int, value: float) -> int:
        """Finds the batch of the next validation, after one at `batch`; to be called in order."""
        return batch + max(int(self._count_batches(batch, value) // self.every), 1) * self.every

    def state_dict(self) -> dict[str, Any]:
        """The batch of the next validation, and where the target was farthest."""
        return {"due": self._due, "farthest": self._farthest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores both."""
        self._due, self._farthest = state_dict["due"], state_dict["farthest"]

    def _count_batches(self, batch: int, value: float) -> float:
        """Counts the batches that can pass until the next validation."""
        objective, most = self.objective, FARTHEST * batch
        gap = objective.goodness(float(objective.target or 0)) - objective.goodness(value)
        if not isfinite(gap):
            return most
        if self._farthest is None or gap >= self._farthest[1]:
            self._farthest = batch, gap
            return most
        since, farthest = self._farthest
        return min(most, CAREFUL * gap * (batch - since) / (farthest - gap))
