"""The loss around a step that was taken: its largest curvature, and what the step has gained."""

from collections.abc import Callable, Sequence
from math import isfinite, nan
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from scratchopt.lightning.replay import set_parameters
from scratchopt.lightning.step_start import StepStart, copy_values, trained_parameters
from scratchopt.lightning.taylor_model import TaylorModel
from scratchopt.second_order.flat import flatten
from scratchopt.second_order.lanczos import Ritz, lanczos


class StepCurvature(NamedTuple):
    """The curvature that a step met, and the decrease of the loss.

    Args:
        largest: eigenvalue of the curvature that the optimizer sees; None where the step could
            move nothing.
        predicted: decrease of the loss by the quadratic at the evaluated point.
        actual: decrease of the loss, on the same batch.
    """

    largest: Ritz | None
    predicted: float
    actual: float


def measure_step_curvature(
    trainer: Trainer, step: StepStart, iterations: int, tol: float
) -> StepCurvature | None:
    """Measures a step after it was taken, and leaves all as it was; None for one without a loss.

    Args:
        trainer: whose parameters are now where the step has led.
        step: what it started from.
        iterations: products of the curvature with a vector at most.
        tol: of the eigenvalue's error, as a part of the eigenvalue.

    Raises:
        RuntimeError: a loss that is not the same when it is computed again.
    """
    parameters, after = trained_parameters(trainer), copy_values(trained_parameters(trainer))
    scaler = getattr(trainer.precision_plugin, "scaler", None)

    def mean(tensor: Tensor) -> Tensor:
        return tensor if trainer.world_size == 1 else trainer.strategy.reduce(tensor.clone())

    def loss_at(values: Sequence[Tensor]) -> float:
        with torch.no_grad(), set_parameters(parameters, values):
            return _number(step.replay(), mean)

    with torch.enable_grad(), set_parameters(parameters, step.point):
        loss = step.replay()
        at_point = _number(loss, mean)
        _check_same_loss(at_point, _number(step.loss, mean), step.number)
        if loss is None:
            return None
        start, end = (
            flatten([value - p for value, p in zip(values, step.point, strict=True)])
            for values in (step.start, after)
        )
        scale = 1.0 if scaler is None else scaler.get_scale()
        while True:
            q = TaylorModel(loss, parameters, mean, scale)
            predicted = -q.change(start, end)
            largest = _largest(q, step, trainer.optimizers[0], iterations, tol)
            if scale <= 1 or (isfinite(predicted) and (largest is None or isfinite(largest.value))):
                break
            scale /= 16  # where a gradient is within float16, a product may be beyond
    before = at_point if step.start is step.point else loss_at(step.start)
    return StepCurvature(largest, predicted, before - loss_at(after))


def _largest(
    q: TaylorModel, step: StepStart, optimizer: Optimizer, iterations: int, tol: float
) -> Ritz | None:
    operator = q.preconditioned_product(optimizer, step.groups)
    if operator is None:
        return None
    return lanczos(
        operator,
        q.gradient.numel(),
        iterations=iterations,
        tol=tol,
        dtype=q.dtype,
        device=q.gradient.device,
    )


def _check_same_loss(again: float, trained: float, number: int) -> None:
    """Refuses a training_step whose loss depends on more than a Replay gives it."""
    if isfinite(trained) and not abs(again - trained) <= 1e-2 * abs(trained) + 1e-6:
        raise RuntimeError(
            f"Sharpness: the loss of step {number} was {trained:.6g}, and computed again it is "
            f"{again:.6g}: training_step must give the same for the same batch, parameters, "
            "buffers and random state; let it draw from no generator of its own"
        )


def _number(loss: Tensor | None, mean: Callable[[Tensor], Tensor]) -> float:
    return nan if loss is None else mean(loss.detach().double()).item()
