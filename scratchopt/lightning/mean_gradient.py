"""MeanGradient: accumulated gradients, averaged over the examples of a step."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from scratchopt.lightning.accumulation import AccumulationWindow


class MeanGradient(Callback):
    """Makes a step with `accumulate_grad_batches=k` that of a batch with all the step's examples.

    Lightning divides every loss by k, also where a step is made of fewer batches, as the last one
    of an epoch may be, or one with a `training_step` that returns None; and a smaller batch counts
    as much as a full one. Before such a step this callback scales the gradient, and `Newton`'s
    curvature, to the mean over all examples of the step's batches:

    g = Σnᵢgᵢ / Σnᵢ, with gᵢ the gradient of a batch's loss and nᵢ its examples.

    So the loss is taken to be a mean over examples. nᵢ is the first dimension of the batch's
    tensors; a batch whose tensors differ in it, or that has none, counts as the one before it.
    Where all batches are of one size and a step has k of them, nothing is touched. Gradients are
    clipped after this. Manual optimization is left alone.

    It comes before callbacks that look at the gradient, such as `OptimizerMonitor`.

    Raises:
        RuntimeError: another order of callbacks; a strategy that accumulates by itself (DeepSpeed);
            a `Newton` that tries its steps.
    """

    def __init__(self) -> None:
        self._window = AccumulationWindow()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would not see, or give, the gradient of a step."""
        self._window = AccumulationWindow()
        callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        for callback in callbacks[: callbacks.index(self)]:
            hook = type(callback).on_before_optimizer_step
            if hook.__qualname__ != Callback.on_before_optimizer_step.__qualname__:
                raise RuntimeError(
                    f"{type(callback).__name__} would see gradients that are not yet the mean: "
                    "list MeanGradient before it in Trainer(callbacks=[...])"
                )
        if trainer.strategy.handles_gradient_accumulation and _accumulates(trainer):
            raise RuntimeError(
                f"MeanGradient scales accumulated gradients, and {type(trainer.strategy).__name__} "
                "accumulates them by itself: leave the callback out"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Weighs what was accumulated against a batch of another size."""
        if _accumulates(trainer):
            self._scale(trainer, self._window.begin(batch))

    def on_before_zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Forgets what was accumulated and not used."""
        self._window.close(1)

    def on_after_backward(self, *args: Any, **kwargs: Any) -> None:
        """Counts the batch."""
        self._window.count()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Makes the gradient the mean, before it is clipped."""
        factor = self._window.close(trainer.accumulate_grad_batches)
        if _accumulates(trainer):
            self._scale(trainer, factor)

    @torch.no_grad()
    def _scale(self, trainer: Trainer, factor: float) -> None:
        if factor == 1:
            return
        optimizers: list[Any] = trainer.optimizers
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.grad.mul_(factor)
            if hasattr(optimizer, "scale_curvature"):
                optimizer.scale_curvature(factor)


def _accumulates(trainer: Trainer) -> bool:
    automatic = trainer.lightning_module.automatic_optimization
    return automatic and trainer.accumulate_grad_batches > 1
