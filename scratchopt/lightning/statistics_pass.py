"""Passes over the training data that take no gradient, as for the statistics of a BatchNorm."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from scratchopt.lightning.patch_method import do_nothing, patch_method


def is_statistics_pass(trainer: Trainer) -> bool:
    """True in a pass without backward, such as StochasticWeightAveraging's last epoch."""
    return trainer.fit_loop._skip_backward


def skip_step(trainer: Trainer, module: LightningModule) -> Callable[[], None]:
    """Keeps a batch of a pass without backward from a step; calling what is returned undoes it.

    Lightning 2.6 steps after the last one, by the gradients of a batch long ago.
    """
    if not is_statistics_pass(trainer):
        return do_nothing

    def run_closure(epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
        if closure is not None:
            closure()

    return patch_method(module, "optimizer_step", run_closure)
