"""The run itself: a validated configuration, trained and tested."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.model_helpers import is_overridden

from scratchopt.config.accelerator import check_float64, resolve_accelerator
from scratchopt.config.fields import UserError
from scratchopt.config.processes import watch_processes
from scratchopt.lightning import Diverged, OptimizerMonitor, ZeRO
from scratchopt.memory_footprint import measure_memory
from scratchopt.runs.callbacks import quiet_lightning
from scratchopt.runs.checkpoints import (
    CHECKPOINT,
    check_same_length,
    check_same_run,
    read_checkpoint,
)
from scratchopt.runs.ending import describe_convergence, describe_ending
from scratchopt.runs.instantiation import make_data, make_task
from scratchopt.runs.machine_limits import check_memory
from scratchopt.runs.provenance import refuse_hidden_targets
from scratchopt.runs.result import Result, hyperparameters
from scratchopt.runs.trainer import Instruments, make_instruments, make_trainer
from scratchopt.second_order.system import Singular
from scratchopt.zero.units import find_units

THREADS = torch.get_num_threads()  # of this process, before any run asked for another number


def run(config: dict[str, Any], result: Result, directory: Path, max_cost: float = inf) -> int:
    """Trains and tests what the configuration describes.

    Args:
        config: as `scratchopt.config.schema.validate` returns it.
        result: what is known of the run so far; the rest is filled in, and all of it written.
        directory: of the run.
        max_cost: gradient evaluations after which what comes of the run does not matter: one that
            takes more is stopped, neither validated nor tested, and not complete.

    Returns:
        The signal that ended the run before its time; 0, if none did.

    Raises:
        Diverged: after the result was written.
        UserError: a task that cannot be given an optimizer, or something that the machine lacks.
    """
    config = _prepare(config)
    result.hyperparameters |= hyperparameters(config)
    task, data = make_task(config), make_data(config["datamodule"])
    check_float64(task, config["accelerator"]["accelerator"])
    if config["activation_checkpointing"]:
        _check_blocks(task)
    checkpoint, updates = _find_checkpoint(config, directory, task)
    instruments = make_instruments(config, directory, updates, max_cost)
    trainer = make_trainer(config, directory, instruments)
    chosen = {"task": result.task, "optimizer": result.optimizer}
    instruments.dashboard.begin(chosen | result.hyperparameters, config)
    record = _Record(result, directory, trainer, instruments)
    with instruments.interrupt:
        try:
            failure = _fit(trainer, task, data, checkpoint, instruments.monitor)
        except Exception:
            record.count_training()
            raise
        if checkpoint and not (failure or instruments.interrupt.trained or config["store"]):
            remedy = describe_convergence(trainer) or "give a greater max_steps or max_epochs"
            raise UserError(
                f"resume={directory}: nothing is left to do after {updates} updates; {remedy}"
            )
        record.write_training(failure)
        if result.status in ("finished", "converged"):
            _validate_and_test(config, trainer, task, data, record)
        record.finish(config["checkpoint_kept"])
    if failure:
        raise failure
    return instruments.interrupt.signum


def _prepare(config: dict[str, Any]) -> dict[str, Any]:
    """Sets this process up; returns the configuration with what `auto` is on this machine."""
    refuse_hidden_targets(config)
    check_memory(config)
    quiet_lightning()
    watch_processes()
    torch.set_num_threads(config["threads"] or THREADS)
    config = config | {"accelerator": resolve_accelerator(config["accelerator"])}
    seed_everything(config["seed"], verbose=False)
    return config


def _check_blocks(task: LightningModule) -> None:
    """Refuses a task of which nothing could be computed again in backward."""
    if not any(True for _ in find_units(task)):
        raise UserError(
            f"activation_checkpointing=true: {type(task).__name__} has no blocks in an "
            "nn.Sequential or nn.ModuleList to compute again; leave it out"
        )


def _find_checkpoint(
    config: dict[str, Any], directory: Path, module: LightningModule
) -> tuple[Path | None, int]:
    """The checkpoint that a resumed run goes on from, and its updates.

    Raises:
        UserError: one that is damaged, of another run, or of another length where that matters.
    """
    if not config["resume"]:
        return None, 0
    path = directory / CHECKPOINT
    content = read_checkpoint(path)
    check_same_run(content, config, module, f"resume={directory}: {CHECKPOINT}")
    check_same_length(content, config, f"resume={directory}")
    unseen = content["callbacks"].get("OptimizerMonitor", {}).get("unseen", 0)
    return path, content["global_step"] + unseen


def _fit(
    trainer: Trainer,
    task: LightningModule,
    data: LightningDataModule | None,
    checkpoint: Path | None,
    monitor: OptimizerMonitor,
) -> Diverged | None:
    """Trains; returns the error, if the training diverged."""
    try:
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except Diverged as error:
        return error
    except Exception as error:
        if isinstance(error.__cause__, Singular):  # Newton's step, which would be infinite
            return monitor.describe_divergence(trainer, error)
        raise
    return None


@dataclass
class _Record:
    """Fills in a run's result as it becomes known, and writes it, in the first process alone."""

    result: Result
    directory: Path
    trainer: Trainer
    instruments: Instruments
    began: float = field(default_factory=time.perf_counter)

    def count_training(self) -> None:
        """Fills in what the training has come to, however it ended."""
        result, monitor = self.result, self.instruments.monitor
        validations, sharpness = self.instruments.validations, self.instruments.sharpness
        result.steps = result.updates = monitor.count_updates(self.trainer)
        result.evaluations, result.cost = monitor.evaluations, monitor.cost
        result.metrics = {
            tag: value
            for tag, value in monitor.latest.items()
            if tag.startswith("train/")  # not of each layer
        }
        if sharpness:
            result.metrics |= {tag: rows[-1][1] for tag, rows in sharpness.history.items()}
        result.validations, result.training_seconds = validations.rows, validations.seconds
        result.metrics |= validations.latest  # where nothing was left to do but the test
        if self.trainer.is_global_zero:  # which alone prints and writes it
            result.seconds = time.perf_counter() - self.began

    def write_training(self, failure: Diverged | None) -> None:
        """Writes what came of the training."""
        self.count_training()
        trainer, result = self.trainer, self.result
        stage = trainer.strategy.stage if isinstance(trainer.strategy, ZeRO) else None
        used = measure_memory(trainer.lightning_module, trainer.optimizers, stage)
        result.memory = used and used._asdict()
        result.traffic = dict(stage.processes.traffic.most_common()) if stage else None
        result.status, result.ending = describe_ending(
            trainer,
            self.instruments.monitor.history,
            failure=failure,
            interrupted=self.instruments.interrupt.stopped,
            stopped=self.instruments.cost_limit.stopped,
        )
        self.write({} if failure else trainer.callback_metrics)

    def write(self, metrics: Mapping[str, Any]) -> None:
        """Writes the result with further metrics."""
        if self.trainer.is_global_zero:
            self.result.seconds = time.perf_counter() - self.began
            self.result.metrics |= {tag: float(value) for tag, value in metrics.items()}
            self.result.write(self.directory)

    def finish(self, checkpoint_kept: bool) -> None:
        """Closes the dashboard, and writes that the run is complete, unless it was broken off."""
        self.instruments.dashboard.end(self.result, self.directory)
        if not self.instruments.interrupt.stopped and self.trainer.is_global_zero:
            if self.result.status != "stopped":
                self.result.complete = True
                self.result.write(self.directory)
            if not checkpoint_kept:
                (self.directory / CHECKPOINT).unlink(missing_ok=True)


def _validate_and_test(
    config: dict[str, Any],
    trainer: Trainer,
    task: LightningModule,
    data: LightningDataModule | None,
    record: _Record,
) -> None:
    """Validates and tests the parameters that the training has come to, where there are data."""
    rows = record.instruments.validations.rows
    is_unread = (rows[-1]["steps"] if rows else 0) < record.result.updates
    if is_unread and config["validate_steps"] and _has(task, data, "validation_step", "val"):
        trainer.validate(task, datamodule=data, verbose=False)
        record.write(trainer.callback_metrics)
    if config["test"] and _has(task, data, "test_step", "test"):
        trainer.test(task, datamodule=data, verbose=False)
        record.write(trainer.callback_metrics)


def _has(module: LightningModule, data: LightningDataModule | None, step: str, stage: str) -> bool:
    """Tells whether the module has the step, and itself or the data the loader for it."""
    sources = [source for source in (module, data) if source is not None]
    brought = any(is_overridden(f"{stage}_dataloader", source) for source in sources)
    return brought and is_overridden(step, module)
