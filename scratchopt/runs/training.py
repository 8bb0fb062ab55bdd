"""The run itself: a validated configuration, trained and tested."""

import pickle
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.model_helpers import is_overridden

from scratchopt import memory
from scratchopt.config.accelerator import check_doubles, on_this_machine
from scratchopt.config.processes import watch
from scratchopt.config.schema import UserError
from scratchopt.lightning import (
    Checkpoint,
    Convergence,
    Diverged,
    Figures,
    LiveLoss,
    Lookahead,
    OptimizerMonitor,
    RandomState,
    Recorder,
    Sharpness,
    Validations,
)
from scratchopt.runs.callbacks import Interrupt, Progress, Unprofiled
from scratchopt.runs.dashboard import Dashboard
from scratchopt.runs.quiet import quiet
from scratchopt.runs.result import STEP, Result, hyperparameters
from scratchopt.runs.resume import CHECKPOINT

THREADS = torch.get_num_threads()  # of this process, before any run asked for another number
# What the parameters are made, where Lightning's precision says so.
DTYPES = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64}


def run(config: dict[str, Any], result: Result, directory: Path) -> int:
    """Trains and tests what the configuration describes.

    Args:
        config: as `scratchopt.config.schema.validate` returns it.
        result: what is known of the run so far; the rest is filled in, and all of it written.
        directory: of the run.

    Returns:
        The signal that ended the run before its time; 0, if none did.

    Raises:
        Diverged: after the result was written.
        UserError: a task that cannot be given an optimizer, or something that the machine lacks.
    """
    quiet()
    watch()
    torch.set_num_threads(config["threads"] or THREADS)
    config = config | {"accelerator": on_this_machine(config["accelerator"])}
    result.hyperparameters |= hyperparameters(config)
    seed_everything(config["seed"], verbose=False)
    module, data = task_of(config), instantiate(config["datamodule"])
    check_doubles(module, config["accelerator"]["accelerator"])
    result.memory = _memory(config, module)
    monitor = OptimizerMonitor(
        config["monitor_every"], config["log_every"], layers=config["monitor_layers"]
    )
    every = config["sharpness_every"]
    sharpness = [Sharpness(every)] if every else []
    validations = Validations(monitor)
    interrupt = Interrupt()
    dashboard = Dashboard(directory)
    trainer = Trainer(
        **config["accelerator"],
        max_epochs=config["max_epochs"],
        max_steps=-1 if config["max_steps"] is None else config["max_steps"],
        **{key: config[key] for key in STEP},
        **_validated(config),
        default_root_dir=directory,
        logger=dashboard,
        callbacks=[
            Lookahead(),
            monitor,
            validations,
            Recorder(config["record_every"]),
            LiveLoss(),
            *sharpness,
            interrupt,
            Checkpoint(config["checkpoint_seconds"], config["checkpoint_steps"]),
            RandomState(),
            *([Figures()] if config["figures"] else []),
            *([Progress(monitor)] if sys.stdout.isatty() else []),
        ],
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        profiler=Unprofiled(),
        log_every_n_steps=1,
    )
    checkpoint = directory / CHECKPOINT if config["resume"] else None
    if checkpoint:
        _check(checkpoint, directory)
    chosen = {"task": result.task, "optimizer": result.optimizer}
    dashboard.begin(chosen | result.hyperparameters, config)
    failure, began = None, time.perf_counter()

    def write(metrics: Mapping[str, Any]) -> None:
        if trainer.is_global_zero:
            result.seconds = time.perf_counter() - began
            result.metrics |= {tag: float(value) for tag, value in metrics.items()}
            result.write(directory)

    with interrupt:
        try:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            if checkpoint and not interrupt.begun and not config["store"]:
                raise UserError(
                    f"resume={directory}: nothing is left to do after {trainer.global_step} "
                    "updates; give a greater max_steps or max_epochs"
                )
        except Diverged as error:
            failure = error
        result.status = "diverged" if failure else _status(trainer, interrupt)
        result.steps = result.updates = trainer.global_step
        result.evaluations, result.cost = monitor.evaluations, monitor.cost
        result.metrics = {
            tag: value
            for tag, value in monitor.latest.items()
            if tag.startswith("train/")  # not of each layer
        }
        for told in sharpness:
            result.metrics |= {tag: rows[-1][1] for tag, rows in told.history.items()}
        result.validations, result.training_seconds = validations.rows, validations.seconds
        result.metrics |= validations.latest  # where nothing was left to do but the test
        write({} if failure else trainer.callback_metrics)
        if not (failure or interrupt.stopped):
            last = validations.rows[-1]["steps"] if validations.rows else 0
            ends_unread = last < trainer.global_step and config["validate_steps"]
            if ends_unread and _has(module, data, "validation_step", "val_dataloader"):
                trainer.validate(module, datamodule=data, verbose=False)  # where it has come to
                write(trainer.callback_metrics)
            if config["test"] and _has(module, data, "test_step", "test_dataloader"):
                trainer.test(module, datamodule=data, verbose=False)
                write(trainer.callback_metrics)
        dashboard.end(result, directory)
        if not interrupt.stopped and trainer.is_global_zero:
            result.complete = True
            result.write(directory)
            if not config["checkpoint_kept"]:
                (directory / CHECKPOINT).unlink(missing_ok=True)
    if failure:
        raise failure
    return interrupt.signum


def _validated(config: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's arguments that say when to validate; it counts batches, across epochs.

    An epoch's last update may be of fewer batches than are accumulated; the distance is then
    kept in batches, and the rows have the steps as they were.
    """
    steps = config["validate_steps"]
    if steps is None:
        return {"check_val_every_n_epoch": config["validate_every"]}
    batches = steps * config["accumulate_grad_batches"]
    return {"check_val_every_n_epoch": None, "val_check_interval": batches}


def _check(checkpoint: Path, directory: Path) -> None:
    try:
        known = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(
            f"resume={directory}: {CHECKPOINT} is damaged; put back a copy of it"
        ) from error
    if not isinstance(known, dict) or "pytorch-lightning_version" not in known:
        raise UserError(f"resume={directory}: {CHECKPOINT} is no checkpoint of a run")


def task_of(config: dict[str, Any]) -> LightningModule:
    """The module that a validated configuration describes, with its optimizer's factory.

    Raises:
        UserError: a task that takes no optimizer or is no LightningModule.
    """
    try:
        module = instantiate(
            config["task"], optimizer=instantiate(config["optimizer"], _convert_="all")
        )
    except InstantiationException as error:
        if "unexpected keyword argument 'optimizer'" not in str(error.__cause__):
            raise
        raise UserError(
            f"task._target_={config['task']['_target_']}: takes no optimizer; let its constructor "
            "take one, and return self.optimizer(self.parameters()) from configure_optimizers"
        ) from error
    if not isinstance(module, LightningModule):
        raise UserError(
            f"task._target_={config['task']['_target_']}: must make a LightningModule, "
            f"not {type(module).__name__}"
        )
    # For load_from_checkpoint. An optimizer would be no plain value, and is given to it anyway.
    module.hparams.pop("optimizer", None)
    module.hparams.update({k: v for k, v in config["task"].items() if not k.startswith("_")})
    return module


def _memory(config: dict[str, Any], module: LightningModule) -> dict[str, int] | None:
    """Bytes that the training will take, unless its optimizer is no class to ask."""
    optimizer = get_object(config["optimizer"]["_target_"])
    if not (isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)):
        return None
    settings = {k: v for k, v in config["optimizer"].items() if not k.startswith("_")}
    dtype = DTYPES.get(config["accelerator"].get("precision"))
    return memory(module, optimizer, dtype, **settings)._asdict()


def _has(module: LightningModule, data: LightningDataModule | None, step: str, loader: str) -> bool:
    """Whether the module brings the step, and itself or the data the loader for it."""
    sources = [source for source in (module, data) if source is not None]
    brought = any(is_overridden(loader, source) for source in sources)
    return brought and is_overridden(step, module)


def _status(trainer: Trainer, interrupt: Interrupt) -> str:
    if interrupt.stopped:
        return "interrupted"
    callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    ends = [callback for callback in callbacks if isinstance(callback, Convergence)]
    return "converged" if any(end.converged for end in ends) else "finished"
