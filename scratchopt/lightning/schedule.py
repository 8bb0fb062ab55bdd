"""Schedule: a schedule of the learning rate for any module, by the step."""

from collections.abc import Callable
from inspect import signature
from math import isfinite
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

LENGTH = "total_steps"  # the argument by which a function is told how long the run is


class Schedule(Callback):
    """Gives the optimizer of any module a schedule, which a Trainer steps after each of its steps.

    So the module returns its optimizer alone from `configure_optimizers`, and knows of no schedule.
    A step of accumulated batches counts once. The Trainer saves the schedule in its checkpoints,
    and restores it, as any other.

    Args:
        make: a function that takes an optimizer and returns a scheduler of torch's, such as those
            of `scratchopt.schedules` or `functools.partial(ExponentialLR, gamma=0.99)`. If it takes
            `total_steps`, it is given the steps of the run by the Trainer's `max_steps` and
            `max_epochs`, or None if these say nothing.

    Raises:
        ValueError: manual optimization, where the module would have to step it; a module that
            brings a schedule of its own; a ReduceLROnPlateau, which follows a metric.
    """

    def __init__(self, make: Callable[..., LRScheduler]) -> None:
        self.make = make

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the schedule, before a checkpoint's state of it is restored."""
        name = type(pl_module).__name__
        if not pl_module.automatic_optimization:
            raise ValueError(
                f"{name} steps its optimizers itself, so no schedule can be given to it; make one "
                "in its configure_optimizers, and step that"
            )
        if trainer.lr_scheduler_configs:
            own = type(trainer.lr_scheduler_configs[0].scheduler).__name__
            raise ValueError(
                f"{name} brings a schedule of its own, {own}; leave that or this one out"
            )
        [optimizer] = trainer.optimizers  # a Trainer takes no more
        told = {LENGTH: _count_steps(trainer)} if takes_length(self.make) else {}
        scheduler = self.make(optimizer, **told)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                "ReduceLROnPlateau follows a metric, and not the steps; return it with its monitor "
                "from configure_optimizers"
            )
        trainer.lr_scheduler_configs.append(LRSchedulerConfig(scheduler, interval="step"))


def takes_length(make: Callable[..., Any]) -> bool:
    """Tells whether a function that makes a schedule wants to know how long the run is."""
    return LENGTH in signature(make).parameters


def _count_steps(trainer: Trainer) -> int | None:
    """Counts the steps of the whole run; None, where neither steps nor epochs end it."""
    steps = trainer.estimated_stepping_batches
    return int(steps) if isfinite(steps) and steps > 0 else None
