"""Lookahead: methods under a Trainer whose gradient is taken elsewhere than at θ."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from scratchopt.lightning.fully_shard import reshard
from scratchopt.optimizer import Optimizer


class Lookahead(Callback):
    """Runs every training batch at the gradient point, NAG's θ + μv, and everything else at θ.

    A Trainer that accumulates gradients runs all but the last micro-batch outside of
    `optimizer.step`, and with a GradScaler it runs them all there. A lookahead within `step` comes
    too late for these; so it is taken before the batch and undone after it. Without a method that
    has a `gradient_point` among the optimizers the callback does nothing.
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Moves to the gradient point. A second micro-batch comes to the same, as θ and v rest."""
        optimizers = _find_with_gradient_point(trainer)
        if optimizers and trainer.world_size > 1:
            reshard(pl_module)  # or the forward pass may not see what happens to the shards
        for optimizer in optimizers:
            optimizer.lookahead_()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Moves back to θ; after a step the parameters are there already."""
        for optimizer in _find_with_gradient_point(trainer):
            optimizer.restore_()

    def on_train_epoch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Moves back to θ where a batch was broken off, before anyone saves."""
        self.on_train_batch_end(trainer)

    def on_exception(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Moves back to θ where a batch failed, so that what is saved now is θ."""
        self.on_train_batch_end(trainer)


def _find_with_gradient_point(trainer: Trainer) -> list[Optimizer]:
    ours = [optimizer for optimizer in trainer.optimizers if isinstance(optimizer, Optimizer)]
    return [optimizer for optimizer in ours if optimizer.gradient_point]
