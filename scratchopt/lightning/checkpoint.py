"""Checkpoint: one file to go on from exactly, never half-written."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch.nn.parameter import is_lazy

from scratchopt.lightning.checkpoint_content import make_content
from scratchopt.lightning.checkpoint_file import write_checkpoint
from scratchopt.lightning.file_versions import choose_version
from scratchopt.lightning.packages import is_a
from scratchopt.lightning.resume_warnings import (
    read_schedules,
    warn_of_schedules,
    warn_of_workers,
)
from scratchopt.lightning.updates import Updates


class Checkpoint(LightningCheckpoint):
    """Keeps `<trainer.default_root_dir>/checkpoints/last.ckpt` up to date.

    It is written where a run can go on as if it had never stopped: before the first step, at the
    beginning and the end of each epoch, and within one, after a whole step, every `steps` steps,
    every `seconds` of training, and where the run ends. Never in the middle of an accumulation,
    whose gradients no checkpoint has, nor between a batch and the validation that follows it, nor
    within an epoch where a ReduceLROnPlateau has interval "step". A run that is broken off there
    goes on from the checkpoint before.

    A new file is written beside the old one and takes its place in one rename, so that whoever is
    killed has the old one; so it is written at once, under an AsyncCheckpointIO too. It loads with
    `torch.load(path, weights_only=True)`: NumPy's numbers, paths and the like are saved as plain
    values, and what cannot be one is named in a warning as the run begins.

    Another fit with the same folder leaves the file alone and has its own, `last-v1.ckpt`,
    `last-v2.ckpt` and so on, as with Lightning's ModelCheckpoint. One that goes on from a
    checkpoint in that folder goes on with its file. With `fast_dev_run` nothing is written, and
    nothing before lazy layers have their shapes, as that is the beginning.

    What a Trainer itself forgets stays forgotten: the mean over an epoch of a metric of training
    counts from the resume, a GradientAccumulationScheduler begins within an epoch with its first
    factor, StochasticWeightAveraging has within an epoch no schedule till the next, and a
    DataLoader begins an epoch that was broken off with its first batch. Random numbers are for
    `RandomState` to restore, but for those of `persistent_workers`. A schedule of
    learning rates that was made from the number of steps stays as it was made, if a run is resumed
    with another `max_steps` or `max_epochs`. A warning says so of both. Layers that a
    BackboneFinetuning had thawed are thawed.

    Args:
        seconds: a step that ends so long after the last checkpoint is saved; > 0. Several
            processes ask each other every ten steps.
        steps: at most so many updates between two checkpoints, >= 1; None, any number.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(self, seconds: float = 60.0, steps: int | None = None) -> None:
        if not seconds > 0:
            raise ValueError(f"Invalid seconds between checkpoints: {seconds} (seconds > 0)")
        if steps is not None and steps < 1:
            raise ValueError(f"Invalid steps between checkpoints: {steps} (steps >= 1, or None)")
        self.seconds, self.steps = seconds, steps
        self._name = "last"
        self._updates = Updates()
        self._limits: dict[str, int | None] | None = None  # of the run that is resumed
        self._made: list[dict[str, Any]] = []  # the schedules, before their states are restored
        self._said: set[str] = set()  # of what is not plain
        self._time, self._step = time.monotonic(), 0  # of the last checkpoint
        self._held: tuple[int, int] | None = None  # what the last one holds
        self._due_after_validation = False
        self._unasked = 0  # steps since the processes compared their clocks
        self._saving = self._between_epochs = self._plateaus = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes the parameters float64, where they will be, before those of a checkpoint come.

        Lightning loads them first, and would round them to float32 on the way.
        """
        if is_a(trainer.precision_plugin, "DoublePrecision"):
            trainer.precision_plugin.convert_module(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the schedules as this run makes them."""
        self._made = read_schedules(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts steps and seconds from here; leaves a run alone that had been stopped early."""
        # Lightning leaves the loaders at their first batch if `trainer.estimated_stepping_batches`
        # had made them before it restored its loops.
        trainer.fit_loop._load_combined_loader_states()
        self._name = choose_version(trainer, self._name, "checkpoints/last.ckpt")
        if self._limits is not None:
            warn_of_schedules(trainer, self._made, self._limits)
            warn_of_workers(trainer)
            self._limits = None
        self._updates.watch(trainer, pl_module)
        self._time, self._step = time.monotonic(), self._updates.count(trainer)
        self._held, self._said = None, set()
        self._due_after_validation = False
        # Which is stepped after the batches, where no callback is called.
        self._plateaus = any(
            c.reduce_on_plateau and c.interval == "step" for c in trainer.lr_scheduler_configs
        )
        for callback in trainer.early_stopping_callbacks:
            if trainer.fit_loop.restarting and callback.wait_count >= callback.patience:
                trainer.should_stop = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what came of the epoch before, or the beginning."""
        loop = trainer.fit_loop.epoch_loop
        if loop.batch_progress.current.ready == 0:
            # Or Lightning takes a validation for done, and goes on with an iterator that was made
            # before the random numbers were restored.
            loop.restarting = trainer.fit_loop._resuming_from_checkpoint = False
        self._save(trainer, between_epochs=True)

    def on_train_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Makes Lightning step its ReduceLROnPlateau in the first epoch after a resume too."""
        trainer.fit_loop._restarting = False

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Saves within an epoch, or lets a validation come before."""
        loop = trainer.fit_loop.epoch_loop
        if trainer.is_last_batch or self._plateaus or loop._should_accumulate():
            return
        ends = trainer.should_stop or trainer.global_step == trainer.max_steps
        if not ends and not self._is_due(trainer):
            return
        fetcher: Any = trainer.fit_loop._data_fetcher
        stops, trainer.should_stop = trainer.should_stop, False
        scheduled = loop._should_check_val_fx(fetcher)  # not only since the run is stopped
        trainer.should_stop = stops
        if scheduled:
            self._due_after_validation = True
        else:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what was due before it, or where it ends the run."""
        due = self._due_after_validation or (trainer.should_stop and trainer.state.fn == "fit")
        self._due_after_validation = False
        whole = not trainer.fit_loop.epoch_loop._should_accumulate()
        if due and whole and not (trainer.is_last_batch or self._plateaus):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the end, unless it is saved."""
        self._updates.unwatch()
        progress = trainer.fit_loop.epoch_loop.batch_progress
        broken_off = progress.current.ready != progress.current.completed
        if progress.is_last_batch or broken_off:  # as by `Convergence`
            self._save(trainer, between_epochs=True)

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Leaves the optimizers as they were."""
        self._updates.unwatch()

    def state_dict(self) -> dict[str, Any]:
        """The file's name, and how many updates Lightning has not counted."""
        return {"name": self._name, "unseen": self._updates.unseen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the file of the run that is resumed."""
        self._name, self._updates.unseen = state_dict["name"], state_dict["unseen"]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Thaws what was thawed, and remembers for which length the run was meant.

        Raises:
            ValueError: a checkpoint without values that could not be saved.
        """
        if trainer.state.fn != "fit":
            return
        saved = checkpoint.get("run", {})
        if saved.get("lost"):
            raise ValueError(
                f"no run can be resumed from this checkpoint: {'; '.join(saved['lost'])}, which "
                "could not be saved; make it a plain value, and begin anew"
            )
        self._limits = saved.get("limits")
        if any(is_a(c, "BaseFinetuning") for c in trainer.callbacks):  # pyright: ignore
            for name, p in pl_module.named_parameters():
                p.requires_grad_(p.requires_grad or name in saved.get("trained", ()))

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Puts Lightning's counters where it goes on from rightly.

        Left to itself, Lightning 2.6 takes a checkpoint from the end of an epoch for one within
        it, and in the first epoch after a resume one within the epoch for one from its end.
        """
        if not self._saving:
            return
        loops = checkpoint["loops"]["fit_loop"]
        for count in (loops["epoch_progress"]["total"], loops["epoch_progress"]["current"]):
            count["ready"] = count["processed"] + 1
            count["started"] = count["processed"] + (not self._between_epochs)
            count["completed"] = count["processed"]
        if self._between_epochs:
            batches = loops["epoch_loop.batch_progress"]
            batches["current"] = dict.fromkeys(batches["current"], 0)
            batches["is_last_batch"] = False

    def _is_due(self, trainer: Trainer) -> bool:
        taken = self._updates.count(trainer) - self._step
        if self.steps is not None and taken >= self.steps:
            return True
        late = taken > 0 and time.monotonic() - self._time >= self.seconds
        if trainer.world_size == 1:
            return late
        self._unasked += 1
        if self._unasked < 10:  # asking takes time
            return False
        self._unasked = 0
        return trainer.strategy.reduce_boolean_decision(late, all=False)  # each has its own clock

    def _save(self, trainer: Trainer, between_epochs: bool = False) -> None:
        """Writes the file, unless it holds this very position."""
        module = trainer.lightning_module
        position = self._position(trainer)
        if (
            self._held == position
            or trainer.fast_dev_run  # pyright: ignore[reportAttributeAccessIssue]
            or any(map(is_lazy, module.parameters()))
        ):
            return
        self._saving, self._between_epochs = True, between_epochs
        try:
            content, warnings = make_content(trainer)
        finally:
            self._saving = False
        self._warn_once(warnings)
        folder = Path(trainer.default_root_dir, "checkpoints")
        write_checkpoint(trainer, content, folder / f"{self._name}.ckpt")
        self._held = position
        self._step, self._time = self._updates.count(trainer), time.monotonic()

    def _warn_once(self, warnings: list[str]) -> None:
        for warning in warnings:
            if warning not in self._said:
                self._said.add(warning)
                rank_zero_warn(warning)

    def _position(self, trainer: Trainer) -> tuple[int, int]:
        """The position in the training: the updates and the batches so far."""
        batches = trainer.fit_loop.epoch_loop.batch_progress.total
        return self._updates.count(trainer), batches.ready
