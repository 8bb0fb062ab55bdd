"""Builds the landscape of a recorded run: the loss of its task at any θ."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from scratchopt.config.fields import UserError
from scratchopt.lightning.trajectory import parameter_names
from scratchopt.playback.landscape import Fit, Landscape
from scratchopt.playback.recordings import Recording
from scratchopt.problems.functions import Function, find_function
from scratchopt.runs.callbacks import quiet_lightning
from scratchopt.second_order.flat import unflatten

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

GRID_OF_FIT = 30  # points of a model's curve over the data
SAMPLES = 2_000  # as many of the training set, or the next whole batch


def build_landscape(recording: Recording) -> Landscape:
    """Builds the loss that a run has minimized: a function, or the mean over training samples.

    A task that declares a function by its keys, as `scratchopt.problems.functions.find_function`
    has it, has minimized that. Of another it is the loss of `training_step` in eval mode, over the
    first batches of the run's first epoch; what is no trained parameter, such as running means, is
    that of the run's last checkpoint. A task whose `fitted_data()` returns the x and y of its data,
    two vectors, has its `forward(x)` drawn over them.

    Raises:
        UserError: a module whose loss cannot be had so.
    """
    function = find_function(recording.run.config["task"])
    if function is not None and function.dim == recording.layout.size:
        return _function_landscape(function)
    return _module_landscape(recording)


def _function_landscape(function: Function) -> Landscape:
    def loss(points: np.ndarray) -> np.ndarray:
        return function(torch.from_numpy(points)).numpy()

    minimizers = np.array(function.minimizers)
    return Landscape(
        title=function.title,
        over="",
        axes=["x", "y"][: function.dim],
        loss=loss,
        minimum=float(loss(minimizers).min()),
        minimizers=minimizers,
        window=np.array(function.window),
        cheap=True,
    )


def _module_landscape(recording: Recording) -> Landscape:
    from hydra.errors import InstantiationException
    from lightning.pytorch import seed_everything

    from scratchopt.runs.instantiation import make_task
    from scratchopt.runs.targets import check_targets

    quiet_lightning()
    run, layout = recording.run, recording.layout
    check_targets(run.config, run.directory, run.trusted)
    seed_everything(run.config["seed"], verbose=False)
    try:
        module = make_task(run.config)
    except InstantiationException as error:
        raise UserError(
            f"{run.directory}: task._target_={run.config['task']['_target_']} cannot be made here; "
            "run this where its module lies, or put that directory on PYTHONPATH"
        ) from error
    module.configure_model()
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if list(parameters) != layout.names:
        raise UserError(f"{run.directory}: its parameters are not those that its task has now")
    if not module.automatic_optimization:
        raise UserError(
            f"{run.directory}: its training_step takes the optimizer's steps itself, so its loss "
            "cannot be had alone"
        )
    try:
        _restore_untrained(module, recording)
        batches, samples = _batches(module, run.config["datamodule"])
        loss = _mean_loss(module, list(parameters.values()), batches)
        loss(recording.parameters(np.array([0])))
    except UserError:
        raise
    except Exception as error:  # of a module that is not ours, whatever it is
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise UserError(
            f"{run.directory}: its loss cannot be had apart from its training: {reason}"
        ) from error
    return Landscape(
        title=run.task.replace("_", " "),
        over=f"{samples:,} training samples",
        axes=parameter_names(layout) if layout.size <= 2 else [],
        loss=loss,
        minimum=None,
        minimizers=np.empty((0, layout.size)),
        window=None,
        cheap=False,
        fit=_fit(module, list(parameters.values())),
    )


def _fit(module: LightningModule, parameters: list[torch.nn.Parameter]) -> Fit | None:
    """The data that the module shows, and its predictions; None if it shows none."""
    fitted_data = getattr(module, "fitted_data", None)
    if fitted_data is None:
        return None
    x, y = fitted_data()
    grid = torch.linspace(float(x.min()), float(x.max()), GRID_OF_FIT, dtype=x.dtype)

    @torch.no_grad()
    def predict(theta: np.ndarray) -> np.ndarray:
        _set(parameters, theta)
        return module(grid).double().numpy()

    return Fit(x.double().numpy(), y.double().numpy(), grid.double().numpy(), predict)


@torch.no_grad()
def _set(parameters: list[torch.nn.Parameter], theta: np.ndarray) -> None:
    for p, value in zip(parameters, unflatten(torch.tensor(theta), parameters), strict=True):
        p.copy_(value)


def _restore_untrained(module: LightningModule, recording: Recording) -> None:
    """Restores the part of the module's state that is not trained, such as running means."""
    from scratchopt.runs.checkpoints import CHECKPOINT, read_checkpoint

    if module.state_dict().keys() <= set(recording.layout.names):
        return
    path = recording.run.directory / CHECKPOINT
    if not path.exists():
        raise UserError(f"{path}: missing, and the module has more than its trained parameters")
    module.load_state_dict(read_checkpoint(path)["state_dict"])


def _batches(module: LightningModule, datamodule: Any) -> tuple[list[tuple[Any, int]], int]:
    """The first batches, each with its number of samples, and how many these are in all."""
    from lightning.pytorch import Trainer

    from scratchopt.runs.instantiation import make_data

    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module.trainer = trainer
    source: Any = module if datamodule is None else make_data(datamodule)
    source.trainer = trainer
    for part in dict.fromkeys((source, module)):
        part.prepare_data()
        part.setup("fit")
    found, samples = [], 0
    for batch in source.train_dataloader():
        if found and batch is found[-1][0]:  # the same for ever
            break
        size = _size(batch)
        found.append((batch, size))
        samples += size
        if samples >= SAMPLES:
            break
    return found, samples


def _size(batch: Any) -> int:
    tensors = [leaf for leaf in tree_leaves(batch) if torch.is_tensor(leaf)]
    return len(tensors[0]) if tensors and tensors[0].dim() else 1


def _mean_loss(
    module: LightningModule, parameters: list[torch.nn.Parameter], batches: list[tuple[Any, int]]
) -> Callable[[np.ndarray], np.ndarray]:
    module.eval()
    for name in ("log", "log_dict"):
        setattr(module, name, lambda *args, **kwargs: None)

    @torch.no_grad()
    def at(theta: np.ndarray) -> float:
        _set(parameters, theta)
        total = 0.0
        for i, (batch, size) in enumerate(batches):
            step: Any = module.training_step(batch, i)
            total += size * float(step["loss"] if isinstance(step, dict) else step)
        return total / sum(size for _, size in batches)

    return lambda points: np.array([at(theta) for theta in points])
