"""The state that a step starts from, recorded before the step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from scratchopt import stability
from scratchopt.lightning.replay import Replay
from scratchopt.optimizer import Optimizer


@dataclass
class StepStart:
    """The facts of a step that are known before its first `training_step`."""

    number: int
    replay: Replay
    start: list[Tensor]  # θ_i
    point: list[Tensor]  # where the loss is evaluated: θ_i, and with an exact NAG θ_i + μv
    groups: list[dict[str, Any]]  # the optimizer's numbers
    loss: Tensor | None = None  # that the training then had; detached


def record_step_start(
    trainer: Trainer,
    module: LightningModule,
    step: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> StepStart:
    """Records the state before a call of `training_step`, and leaves it as it is."""
    optimizer = trainer.optimizers[0]
    start = point = copy_values(trained_parameters(trainer))
    if isinstance(optimizer, Optimizer) and optimizer.ahead:
        optimizer.restore_()
        start = copy_values(trained_parameters(trainer))
        optimizer.lookahead_()  # to the very point, bit for bit
    replay = Replay(trainer, module, step, arguments)
    return StepStart(trainer.global_step, replay, start, point, stability.read_settings(optimizer))


def trained_parameters(trainer: Trainer) -> list[Tensor]:
    """The parameters of the optimizer, in its order; under automatic optimization there is one."""
    groups = trainer.optimizers[0].param_groups
    return [p for group in groups for p in group["params"] if p.requires_grad]


def copy_values(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Copies what the parameters hold."""
    return [p.detach().clone() for p in parameters]
