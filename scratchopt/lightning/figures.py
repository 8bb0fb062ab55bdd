"""Figures: what a run looked like, as pictures in its folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from scratchopt.lightning.file_versions import choose_version
from scratchopt.lightning.monitor import OptimizerMonitor
from scratchopt.lightning.packages import is_a
from scratchopt.lightning.shards import are_sharded
from scratchopt.lightning.sharpness import Sharpness
from scratchopt.pictures.curves import History, training_curves
from scratchopt.pictures.sharpness_figure import sharpness_figures
from scratchopt.pictures.style import house_style, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)


class Figures(Callback):
    """Draws a run when it ends, by an exception too, into `<default_root_dir>/figures`.

    Each picture is `<name>.png`, and `<name>.svg` for papers, slides and the web.
    The pictures are what the module's `figures(history) -> dict[str, Figure]` returns, or
    `training_curves` where it has no such method or is sharded, so that no process has all of it.
    `history` is that of the OptimizerMonitor among the Trainer's callbacks, which is to be listed
    before `Figures`, or it is not complete yet when an exception ends the run. A run with a
    `Sharpness` has a picture `sharpness`, too. Loggers with an `experiment.add_image`, such as
    TensorBoard's, get each picture as `views/<name>`; by name that is behind `train`, and
    TensorBoard opens the first two groups.
    A picture that cannot be drawn is a warning, never the end of a run. Another fit with the same
    folder draws into `figures-v1` and so on; with `fast_dev_run` nothing is drawn.
    """

    _folder = "figures"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Chooses the folder, unless this fit goes on with an earlier one."""
        self._folder = choose_version(trainer, self._folder, "figures")

    def state_dict(self) -> dict[str, Any]:
        """The name of the folder."""
        return {"folder": self._folder}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the folder of the run that is resumed."""
        self._folder = state_dict["folder"]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the whole run."""
        self._draw(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Draws what there is of a run that diverged or was interrupted."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # pyright: ignore
            return
        try:
            with house_style():
                for name, figure in _draw_all(trainer, pl_module).items():
                    pixels = save(figure, Path(trainer.default_root_dir, self._folder, name))
                    _log_image(trainer, f"views/{name}", pixels)
        except Exception as error:
            message = str(error).partition("\n")[0]
            _log.warning("Figures were not drawn: %s: %s", type(error).__name__, message)


def _draw_all(trainer: Trainer, pl_module: LightningModule) -> dict[str, Figure]:
    """Draws the module's own figures, and the sharpness, where it was measured."""
    figures = _draw_own(trainer, pl_module)
    callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    if not any(isinstance(c, Sharpness) for c in callbacks):
        return figures
    histories = [c.history for c in callbacks if isinstance(c, OptimizerMonitor | Sharpness)]
    history = {tag: series for history in histories for tag, series in history.items()}
    title = f"{type(pl_module).__name__}, {type(trainer.optimizers[0]).__name__}"
    return figures | sharpness_figures({title: history})


def _draw_own(trainer: Trainer, pl_module: LightningModule) -> dict[str, Figure]:
    callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    monitor = next((c for c in callbacks if isinstance(c, OptimizerMonitor)), None)
    if monitor is not None and not monitor.history:
        return {}  # it ended before its first step
    history: History = {} if monitor is None else monitor.history
    own = getattr(pl_module, "figures", None)
    is_sharded = is_a(trainer.strategy, "FSDPStrategy") or are_sharded(pl_module.parameters())
    if own is not None and not is_sharded:
        return own(history)
    return training_curves(history, type(pl_module).__name__)


def _log_image(trainer: Trainer, tag: str, pixels: np.ndarray) -> None:
    for logger in trainer.loggers:
        add_image = getattr(getattr(logger, "experiment", None), "add_image", None)
        if add_image is not None:
            add_image(tag, pixels, trainer.global_step, dataformats="HWC")
