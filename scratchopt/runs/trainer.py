"""The Trainer of a run: its arguments and callbacks, as a configuration describes them."""

import sys
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from scratchopt.lightning import (
    ActivationCheckpointing,
    Checkpoint,
    Figures,
    LiveLoss,
    Lookahead,
    MeanGradient,
    OptimizerMonitor,
    RandomState,
    Recorder,
    Schedule,
    Sharpness,
    SpacedValidations,
    StopAtTarget,
    Validations,
)
from scratchopt.lightning.idle_hooks import skip_idle_hooks
from scratchopt.objective import Objective
from scratchopt.runs.callbacks import Bar, Interrupt, Lines, NoProfiler, Progress, StopAtCost
from scratchopt.runs.dashboard import Dashboard
from scratchopt.runs.instantiation import make_schedule
from scratchopt.runs.notebook_kernel import in_notebook
from scratchopt.runs.result import STEP


@dataclass(frozen=True)
class Instruments:
    """The parts of a Trainer that are asked afterwards what came of the training."""

    monitor: OptimizerMonitor
    validations: Validations
    sharpness: Sharpness | None
    interrupt: Interrupt
    cost_limit: StopAtCost
    dashboard: Dashboard


def make_instruments(
    config: dict[str, Any], directory: Path, updates: int = 0, max_cost: float = inf
) -> Instruments:
    """Makes the instruments that a configuration asks for.

    Args:
        config: validated.
        directory: of the run.
        updates: of the checkpoint that the run goes on from.
        max_cost: gradient evaluations after which it is stopped.
    """
    every = config["sharpness_every"]
    monitor = OptimizerMonitor(
        config["monitor_every"], config["log_every"], layers=config["monitor_layers"]
    )
    return Instruments(
        monitor=monitor,
        validations=Validations(monitor),
        sharpness=Sharpness(every) if every else None,
        interrupt=Interrupt(),
        cost_limit=StopAtCost(max_cost, monitor),
        dashboard=Dashboard(directory, updates),
    )


def make_trainer(config: dict[str, Any], directory: Path, instruments: Instruments) -> Trainer:
    """Makes the Trainer of a validated configuration, its accelerator one of this machine."""
    return Trainer(
        **config["accelerator"],
        max_epochs=config["max_epochs"],
        max_steps=-1 if config["max_steps"] is None else config["max_steps"],
        **{key: config[key] for key in STEP},
        **_validation_interval(config),
        default_root_dir=directory,
        logger=instruments.dashboard,
        callbacks=_callbacks(config, instruments),
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        profiler=NoProfiler(),
        log_every_n_steps=1,
    )


def _callbacks(config: dict[str, Any], instruments: Instruments) -> list[Callback]:
    """All callbacks of a run, in the order in which Lightning calls them."""
    schedule = make_schedule(config["schedule"])
    callbacks = [
        *([Schedule(schedule)] if schedule else []),
        Lookahead(),
        MeanGradient(),
        *([ActivationCheckpointing()] if config["activation_checkpointing"] else []),
        instruments.monitor,
        instruments.validations,
        Recorder(config["record_every"]),
        LiveLoss(),
        *([instruments.sharpness] if instruments.sharpness else []),
        instruments.interrupt,
        *([instruments.cost_limit] if isfinite(instruments.cost_limit.max_cost) else []),
        *_stop_at_target(config, instruments.monitor),
        Checkpoint(config["checkpoint_seconds"], config["checkpoint_steps"]),
        RandomState(),
        *([Figures()] if config["figures"] is not False else []),
        _choose_progress()(instruments.monitor),
    ]
    skip_idle_hooks(callbacks)
    return callbacks


def _choose_progress() -> type[Progress] | type[Lines]:
    """Chooses what tells how far a training is: a bar, or lines where nothing can be redrawn."""
    return Bar if in_notebook() else Progress if sys.stdout.isatty() else Lines


def _stop_at_target(config: dict[str, Any], monitor: OptimizerMonitor) -> list[Callback]:
    """The callbacks that end a run at its target, and validate seldom while that is far off."""
    if config["until"] == "end":
        return []
    objective = Objective.from_keys(config["comparison"])
    stop = StopAtTarget(objective, monitor)
    every = _validation_interval(config).get("val_check_interval")
    if objective.target is None or every is None:
        return [stop]
    return [stop, SpacedValidations(objective, every)]


def _validation_interval(config: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's arguments that say when to validate; it counts batches, across epochs.

    An epoch's last update may be of fewer batches than are accumulated; the distance is then
    kept in batches, and the rows have the steps as they were.
    """
    steps = config["validate_steps"]
    if steps is None:
        return {"check_val_every_n_epoch": config["validate_every"]}
    batches = steps * config["accumulate_grad_batches"]
    return {"check_val_every_n_epoch": None, "val_check_interval": batches}
