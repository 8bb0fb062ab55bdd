"""Warnings of what makes a resumed run differ from one that had never stopped."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import LambdaLR, MultiplicativeLR, OneCycleLR

# The keys of a schedule's state that move as it goes, or come from the optimizer.
MOVING = {
    *("last_epoch", "_step_count", "_last_lr", "base_lrs", "T_cur", "T_i", "best", "mode_worse"),
    *("num_bad_epochs", "cooldown_counter", "_get_lr_called_within_step", "lr_lambdas"),
    *("_is_initial", "_initial_step", "_schedule_phases"),  # the last made by total_steps
}


def read_schedules(trainer: Trainer) -> list[dict[str, Any]]:
    """Reads the states of the learning rates' schedules."""
    return [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]


def read_limits(trainer: Trainer) -> dict[str, int | None]:
    """Reads the numbers that a schedule may have been made from."""
    return {"max_steps": trainer.max_steps, "max_epochs": trainer.max_epochs}


def warn_of_schedules(
    trainer: Trainer, made: list[dict[str, Any]], limits: Mapping[str, int | None]
) -> None:
    """Warns of schedules that were made for another length of the run, or end before it does.

    Args:
        trainer: of the resumed run, its schedules restored.
        made: their states as this run had made them, before those of the checkpoint came.
        limits: of the run that was saved.
    """
    now = read_limits(trainer)
    changed = ", ".join(f"{k}={now[k]} (saved: {limits[k]})" for k in now if now[k] != limits[k])
    for config, fresh in zip(trainer.lr_scheduler_configs, made, strict=True):
        name = type(config.scheduler).__name__
        differing = _compare(fresh, config.scheduler.state_dict()) if changed else []
        if differing:
            rank_zero_warn(
                f"Resumed with {changed}: {name} goes on with {', '.join(differing)}. A schedule "
                "made for another length is not that of an uninterrupted run, and what comes after "
                "its end is torch's affair: OneCycleLR raises an error, a cosine rises again"
            )
        elif changed and isinstance(config.scheduler, LambdaLR | MultiplicativeLR):
            rank_zero_warn(
                f"Resumed with {changed}: if {name}'s function knows the number of steps, the "
                "learning rates from here on are not those of an uninterrupted run"
            )
        elif isinstance(config.scheduler, OneCycleLR):
            _warn_of_end(trainer, config, config.scheduler)


def warn_of_workers(trainer: Trainer) -> None:
    """Warns of loaders whose workers outlive an epoch: no checkpoint has their random numbers."""
    combined = trainer.fit_loop._combined_loader
    loaders = [] if combined is None else combined.flattened
    if any(getattr(loader, "persistent_workers", False) for loader in loaders):
        rank_zero_warn(
            "Resumed with persistent_workers=True: the workers begin anew, so the random numbers "
            "that they draw are not those of an uninterrupted run; persistent_workers=False is"
        )


def _warn_of_end(trainer: Trainer, config: LRSchedulerConfig, schedule: OneCycleLR) -> None:
    """Warns where the run is to make more steps of the schedule than its fixed number."""
    by_epoch = config.interval == "epoch"
    length = trainer.max_epochs if by_epoch else trainer.estimated_stepping_batches
    steps = (length or 0) // config.frequency  # below 0 where nobody knows
    if steps > schedule.total_steps:
        rank_zero_warn(
            f"Resumed for {steps:,} {config.interval}s in all, and OneCycleLR has total_steps="
            f"{schedule.total_steps}: torch ends the run with an error after that many"
        )


def _compare(made: Mapping[str, Any], restored: Mapping[str, Any]) -> list[str]:
    """Finds fixed numbers of a schedule that differ, such as "total_steps=40, as saved, not 80"."""
    found = []
    for key in made.keys() & restored.keys() - MOVING:
        if key == "_schedulers":
            for one, other in zip(made[key], restored[key], strict=True):
                found += _compare(one, other)
        elif made[key] != restored[key]:
            found.append(f"{key.lstrip('_')}={restored[key]}, as saved, not {made[key]}")
    return sorted(found)
