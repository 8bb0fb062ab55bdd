"""Sharpness: the largest curvature of the loss, beside the optimizer's limit of stability."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from math import inf
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from scratchopt import stability
from scratchopt.lightning.packages import holds_all_parameters
from scratchopt.lightning.patch_method import do_nothing, patch_method
from scratchopt.lightning.replay import extract_loss
from scratchopt.lightning.scalars import Rows, Scalars
from scratchopt.lightning.step_curvature import measure_step_curvature
from scratchopt.lightning.step_start import StepStart, record_step_start, trained_parameters
from scratchopt.second_order.curvature import COMPILED, twice_differentiable
from scratchopt.second_order.lanczos import Ritz

_TAGS = ("sharpness", "sharpness_error", "predicted_decrease", "actual_decrease")


class Sharpness(Callback):
    """Logs the loss's curvature, and what a step gains by the curvature and in truth.

    From every `every`-th step i, counted as `OptimizerMonitor` does, for any module and any torch
    optimizer, with the loss of the step's batch (of accumulated micro-batches the first), H its
    Hessian and g its gradient, both at the evaluated point (θ_i; an exact `NAG`: its lookahead
    point φ_i):

    `train/sharpness`: the largest eigenvalue of H; of Adam, AdamW, RMSprop and Adagrad, ours and
    torch's, of P⁻¹H, with P the preconditioner that the step divides by. A weight decay that is an
    L2 penalty counts: it is then H + weight_decay·I.
    `train/sharpness_error`: an eigenvalue is at most so far from it (`second_order.lanczos`).
    `train/sharpness_limit`: on a quadratic with a larger one the optimizer diverges, with the lr
    and μ of this step: SGD 2/lr, Momentum (2 + 2μ)/lr, NAG and NAGTorch (2 + 2μ)/((1 + 2μ)·lr),
    Adam (2 + 2β₁)/((1 − β₁)·lr), as in `scratchopt.stability`. Not of an optimizer unknown there.
    `train/predicted_decrease`: of the step that was taken, by the quadratic with g and H,
    −(gᵀΔθ + ½·ΔθᵀHΔθ), Δθ = θ_{i+1} − θ_i. Under an exact `NAG`, whose quadratic is about φ_i, the
    difference of its values at θ_i and at θ_{i+1}.
    `train/actual_decrease`: loss(θ_i) − loss(θ_{i+1}), on the same batch. A penalty is in neither.

    To that end training_step is made again after the step, with the same batch, random numbers,
    buffers and attributes, and with the parameters set back for the while. Training is bit for
    bit what it is without the callback. A measurement takes the time of five gradients and of two
    more a product, some 25 in all, and the memory of a vector of all parameters a product; a step
    that is not measured takes none. With several processes loss and products are means over all.
    The callback comes after `Lookahead`.

    `history` has all that was logged; a checkpoint keeps it.

    Args:
        every: steps between two measurements, >= 1.
        iterations: products at most, >= 1. Where they end first there is a warning, once.
        tol: of train/sharpness_error, as a part of train/sharpness; >= 0. The error itself goes
            with the square, unless eigenvalues are close.

    Raises:
        ValueError: a value out of its range.
        RuntimeError: a loss that cannot be computed again, or has no second derivatives, as of a
            compiled model; parameters that are sharded (FSDP2) or complex; manual optimization.

    Reference: Cohen et al., "Gradient descent on neural networks typically occurs at the edge of
    stability", ICLR 2021, arXiv 2103.00065; "Adaptive gradient methods at the edge of stability"
    (2022), arXiv 2207.14484.
    """

    def __init__(self, every: int, iterations: int = 100, tol: float = 1e-2) -> None:
        for name, value, least in (
            ("every", every, 1),
            ("iterations", iterations, 1),
            ("tol", tol, 0),
        ):
            if not value >= least:
                raise ValueError(f"Invalid {name}: {value} ({name} >= {least})")
        self.every, self.iterations, self.tol = every, iterations, tol
        self._scalars = Scalars(partial=_TAGS)
        self._step: StepStart | None = None
        self._unpatch: Callable[[], None] = do_nothing
        self._warned = False

    @property
    def history(self) -> Rows:
        """The logged values by tag, as (step, value) pairs."""
        return self._scalars.history

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses a training whose curvature cannot be measured."""
        self._step = None
        _check_supported(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Watches the coming training_step, if its step is to be measured."""
        self._unpatch()
        if self._step is not None and self._step.number == trainer.global_step:
            return  # a later micro-batch
        self._step = None
        # Lazy layers have no θ before their first forward pass.
        if trainer.global_step % self.every == 0 and not any(map(is_lazy, pl_module.parameters())):
            self._watch(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Measures, once the step is taken."""
        self._unpatch()
        if self._step is not None and self._step.number != trainer.global_step:
            step, self._step = self._step, None
            with twice_differentiable():
                self._measure(trainer, step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the module as it was."""
        self._unpatch()

    def on_exception(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Leaves the module as it was."""
        self._unpatch()

    def state_dict(self) -> dict[str, Any]:
        """The history."""
        return self._scalars.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues a saved history."""
        self._scalars.load_state_dict(state_dict)

    def _watch(self, trainer: Trainer, module: LightningModule) -> None:
        """Notes the state before the next call of training_step, and its loss."""
        train = module.training_step

        @wraps(train)  # for Lightning looks at its parameters
        def note_and_train(*arguments: Any) -> Any:
            self._unpatch()  # only the first call is at the step's point
            step = record_step_start(trainer, module, train, arguments)
            outputs = train(*arguments)
            loss = extract_loss(outputs)
            if loss is not None:
                step.loss, self._step = loss.detach().clone(), step
            return outputs

        self._unpatch = patch_method(module, "training_step", note_and_train)

    def _measure(self, trainer: Trainer, step: StepStart) -> None:
        found = measure_step_curvature(trainer, step, self.iterations, self.tol)
        if found is None:
            return
        self._gather(step, "predicted_decrease", found.predicted)
        self._gather_largest(step, found.largest, trainer.optimizers[0])
        self._gather(step, "actual_decrease", found.actual)
        self._scalars.write(trainer)

    def _gather_largest(self, step: StepStart, found: Ritz | None, optimizer: Optimizer) -> None:
        if found is None:
            return
        self._gather(step, "sharpness", found.value)
        self._gather(step, "sharpness_error", found.residual)
        limit = stability.limit(optimizer, step.groups)
        if limit is not None:
            self._gather(step, "sharpness_limit", limit)
        if not self._warned and self.tol * abs(found.value) < found.residual < inf:
            self._warned = True
            rank_zero_warn(
                f"train/sharpness of step {step.number} is {found.value:.6g} ± {found.residual:.2g}"
                f" after {found.products} products: Sharpness(iterations=...) may be more"
            )

    def _gather(self, step: StepStart, name: str, value: float) -> None:
        number = torch.tensor(value, dtype=torch.float64)
        self._scalars.gather(f"train/{name}", step.number, number)


def _check_supported(trainer: Trainer, module: LightningModule) -> None:
    strategy = trainer.strategy
    parts = [part for part in module.modules() if hasattr(part, "_orig_mod")]
    if parts or getattr(module, "_compiler_ctx", None) is not None:
        raise RuntimeError(COMPILED.format("Sharpness"))
    if not holds_all_parameters(strategy):
        raise RuntimeError(
            "Sharpness needs all parameters in each process: use strategy='ddp' (accelerator=ddp), "
            f"not {type(strategy).__name__}"
        )
    if not module.automatic_optimization:
        raise RuntimeError(
            "Sharpness makes training_step again, which must not take the step itself: it needs "
            "automatic optimization"
        )
    if "dataloader_iter" in signature(module.training_step).parameters:
        raise RuntimeError(
            "Sharpness needs the batch: let training_step take it, not a dataloader_iter"
        )
    if any(p.is_complex() for p in trained_parameters(trainer)):
        raise RuntimeError("Sharpness is for real parameters, not for complex ones")
