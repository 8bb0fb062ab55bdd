"""Lookahead: methods under a Trainer whose gradient is taken elsewhere than at θ."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from scratchopt.lightning.fully_shard import reshard
from scratchopt.lightning.patch_method import do_nothing
from scratchopt.lightning.running_statistics import RunningStatistics
from scratchopt.lightning.statistics_pass import is_statistics_pass, skip_step
from scratchopt.optimizer import Optimizer


class Lookahead(Callback):
    """Runs every training batch at the method's gradient point, and everything else at θ.

    The point is NAG's θ + μv, and Schedule-Free's y, where θ is its average x.

    A Trainer that accumulates gradients runs all but the last micro-batch outside of
    `optimizer.step`, and with a GradScaler it runs them all there. A lookahead within `step` comes
    too late for these; so it is taken before the batch and undone after it. A pass without
    backward, such as `StochasticWeightAveraging`'s for the statistics of a BatchNorm, is at θ and
    takes no step. Without a method that has a `gradient_point` among the optimizers the callback
    does nothing.

    Where θ is an average, as Schedule-Free's, the running statistics of BatchNorm layers are kept
    those of θ: they come from passes at θ that are made for them, before each of the first few
    hundred batches and ever more seldom later (`scratchopt.lightning.running_statistics`).

    With manual optimization every such optimizer is at its point in every batch. Where a batch
    steps only some of them, as in a GAN, leave the callback out and call `lookahead_()` of those.
    """

    _undo: Callable[[], None] = staticmethod(do_nothing)
    _statistics: RunningStatistics | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the layers whose running statistics need passes at θ."""
        averages = [o for o in _find_with_gradient_point(trainer) if o.averages]
        self._statistics = (
            RunningStatistics(trainer, pl_module, type(averages[0]).__name__) if averages else None
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Moves to the gradient point. A second micro-batch comes to the same, as θ and v rest."""
        optimizers = _find_with_gradient_point(trainer)
        if optimizers and is_statistics_pass(trainer):
            self._undo = skip_step(trainer, pl_module)
            return
        if self._statistics:
            self._statistics.hold(*args)
        if optimizers and trainer.world_size > 1:
            reshard(pl_module)  # or the forward pass may not see what happens to the shards
        for optimizer in optimizers:
            optimizer.lookahead_()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Moves back to θ; after a step the parameters are there already."""
        self._undo()
        if self._statistics:
            self._statistics.release()
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
