"""MeanGradient: accumulated gradients, averaged over the examples of a step."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from scratchopt.lightning.accumulation import AccumulationWindow
from scratchopt.lightning.live_loss import LiveLoss


class MeanGradient(Callback):
    """Makes a step with `accumulate_grad_batches=k` that of a batch with all the step's examples.

    Lightning divides every loss by k, also where a step is made of fewer batches, as the last one
    of an epoch may be, or one with a `training_step` that returns None; and a smaller batch counts
    as much as a full one. In such a step this callback weighs the gradient of each batch, and its
    part of `Newton`'s curvature, and makes their sum the mean over all examples of the step:

    g = Σnᵢgᵢ / Σnᵢ, with gᵢ the gradient of a batch's loss and nᵢ its examples.

    The sums are over the batches of all processes. So the loss is taken to be a mean over examples.
    nᵢ is the first dimension of the batch's tensors; a batch whose tensors differ in it, or that
    has none, counts as the one before it, and a warning says so once. Where all batches are of one
    size and a step has k of them, nothing is touched. Gradients are clipped after this. Manual
    optimization, and steps of one batch (k=1), are left alone.

    It comes before callbacks that look at the gradient, such as `OptimizerMonitor`, and before the
    `LiveLoss` of a `Newton`.

    Raises:
        RuntimeError: another order of callbacks; a strategy that accumulates by itself (DeepSpeed);
            a `Newton` that tries its steps.
    """

    def __init__(self) -> None:
        self._window = AccumulationWindow()
        self._warned = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what would not see, or give, the gradient of a step."""
        self._window, self._warned = _window_of_all(trainer), False
        callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        newtons = _find_newtons(trainer)
        for callback in callbacks[: callbacks.index(self)]:
            hook = type(callback).on_before_optimizer_step
            sees = hook.__qualname__ != Callback.on_before_optimizer_step.__qualname__
            if sees or (newtons and isinstance(callback, LiveLoss)):
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
        """Begins the batch; tells of one whose size is unknown."""
        if _accumulates(trainer) and not self._window.begin(batch) and not self._warned:
            self._warned = True
            rank_zero_warn(
                "MeanGradient counts a batch as the one before it, whatever its examples: its "
                "tensors differ in their first dimension, or it has none"
            )

    def on_before_zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Forgets what was accumulated and not used."""
        self._window.forget()

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Weighs the batch, in what is derived from its loss.

        DDP averages over the processes within the backward pass, when it is too late.
        """
        weight = self._window.weight
        if weight == 1 or not loss.requires_grad or not _accumulates(trainer):
            return
        for optimizer in _find_newtons(trainer):
            optimizer.scale_curvature(1.0)  # refuses if it tries its steps
        loss.register_hook(lambda gradient: gradient * weight)

    def on_after_backward(self, *args: Any, **kwargs: Any) -> None:
        """Counts the batch."""
        self._window.count()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Makes the gradient the mean, before it is clipped."""
        if _accumulates(trainer):
            self._scale(trainer, self._window.close(trainer.accumulate_grad_batches))

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
        for optimizer in _find_newtons(trainer):
            optimizer.scale_curvature(factor)


def _accumulates(trainer: Trainer) -> bool:
    return trainer.accumulate_grad_batches > 1 and trainer.lightning_module.automatic_optimization


def _find_newtons(trainer: Trainer) -> list[Any]:
    return [optimizer for optimizer in trainer.optimizers if hasattr(optimizer, "scale_curvature")]


def _window_of_all(trainer: Trainer) -> AccumulationWindow:
    """The window of a step to which every process brings its batches."""
    processes = trainer.world_size
    if processes == 1:
        return AccumulationWindow()

    def reduce(number: float, by: str) -> float:
        tensor = torch.tensor(float(number), device=trainer.strategy.root_device)
        return float(trainer.strategy.reduce(tensor, reduce_op=by))

    return AccumulationWindow(
        agree=lambda size: reduce(size, "max"),
        add=lambda total: reduce(total, "sum") / processes,
    )
