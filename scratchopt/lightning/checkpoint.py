"""Checkpoint: one file to go on from, never half-written."""

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint


class Checkpoint(LightningCheckpoint):
    """Keeps `<trainer.default_root_dir>/checkpoints/last.ckpt` up to date.

    It is written after the last batch of each epoch, of a run that ends within one (`max_steps`, an
    interruption), and every `seconds` of training. A new file is written beside the old one and
    then takes its place in one rename, so that whoever is killed has the old one.

    Args:
        seconds: at most this long between two checkpoints, in seconds.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self._written = time.monotonic()
        self._step = -1

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Saves when it is time, or when no other batch will follow in this epoch.

        Lightning counts an epoch twice that was saved any later, if there is a `max_steps`.
        """
        due = trainer.is_last_batch or trainer.should_stop
        due = due or trainer.global_step == trainer.max_steps
        if not due and batch_idx % 10 == 0:  # every process has its own clock, and all must save
            late = time.monotonic() - self._written >= self.seconds
            due = trainer.strategy.reduce_boolean_decision(late, all=False)
        if due:
            progress = trainer.fit_loop.epoch_progress
            count: Any
            for count in (progress.total, progress.current):
                # Lightning does not count the first epoch after a resume as begun, and would take
                # this checkpoint for one between two epochs.
                count.ready = count.started = count.processed + 1
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves where an epoch was broken off, as by `Convergence`."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes the file, unless it holds this very step."""
        if trainer.global_step == self._step:
            return
        path = Path(trainer.default_root_dir, "checkpoints", "last.ckpt")
        new = path.with_suffix(".new")
        trainer.save_checkpoint(new)
        if trainer.is_global_zero:
            os.replace(new, path)
        self._step, self._written = trainer.global_step, time.monotonic()
