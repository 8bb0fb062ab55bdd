"""Trainers for tests, which print nothing and write only what is asked for."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Trainer

from scratchopt.lightning import Checkpoint


def quiet_trainer(callbacks: Iterable[Any] = (), **options: Any) -> Trainer:
    """A Trainer of one CPU process without log, bar, summary and sanity check.

    It has checkpoints if one of the callbacks is ours. `options` are the Trainer's, and decide.
    """
    callbacks = list(callbacks)
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=callbacks, **(settings | options))
