"""Checkpoint: one file to go on from, never half-written."""

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint


class Checkpoint(LightningCheckpoint):
    """Keeps `<trainer.default_root_dir>/checkpoints/last.ckpt` up to date.

    It is written at the end of each epoch, at the last batch of a run that ends within an epoch
    (a `max_steps`, an interruption), and every `seconds` of training. A new file is written beside
    the old one and then takes its place in one rename, so that whoever is killed has the old one.

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
        """Saves when it is time, or when no other batch will follow in this epoch."""
        last = trainer.should_stop or trainer.global_step == trainer.max_steps
        if last or time.monotonic() - self._written >= self.seconds:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the whole epoch, validation included."""
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
