"""Validations: the metrics of each validation, and the cost of training until then."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from scratchopt.lightning.monitor import OptimizerMonitor


class Validations(Callback):
    """Keeps all `val/…` metrics of each validation; a checkpoint keeps them too.

    Stands behind the OptimizerMonitor and before the Checkpoint in the Trainer's callbacks.

    `rows` has one dict a validation: `steps`, the updates before it; `evaluations` of the gradient
    and their `cost`, as the monitor counts them; `seconds` of training by the clock, validations
    not among them; and the metrics by tag.

    Args:
        monitor: a callback of the same Trainer.
    """

    def __init__(self, monitor: OptimizerMonitor) -> None:
        self.monitor = monitor
        self.rows: list[dict[str, float]] = []
        self._seconds = 0.0
        self._since: float | None = None  # while the clock runs
        self._paused = False  # by a validation

    @property
    def seconds(self) -> float:
        """Seconds of training, so far."""
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    @property
    def latest(self) -> dict[str, float]:
        """The metrics of the last validation, by tag; none before the first."""
        return {k: v for row in self.rows[-1:] for k, v in row.items() if k.startswith("val/")}

    def on_train_start(self, *args: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_validation_start(self, *args: Any, **kwargs: Any) -> None:
        """Stops the clock, if it runs."""
        self._paused = self._since is not None
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the metrics, and lets the clock run again."""
        if trainer.sanity_checking:
            return
        found = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        self.rows.append(
            {
                "steps": self.monitor.count_updates(trainer),
                "evaluations": self.monitor.evaluations,
                "cost": self.monitor.cost,
                "seconds": self.seconds,
                **found,
            }
        )
        if self._paused:
            self._since = time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Stops the clock."""
        self._stop()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Stops the clock."""
        self._stop()

    def state_dict(self) -> dict[str, Any]:
        """The rows and the clock."""
        return {"rows": list(self.rows), "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues saved rows, and the clock."""
        self.rows, self._seconds = list(state_dict["rows"]), state_dict["seconds"]

    def _stop(self) -> None:
        self._seconds, self._since = self.seconds, None


def read_validation(trainer: Trainer, metric: str) -> float | None:
    """Reads what a validation within a fit has found of a metric; None, if it is none or nothing.

    Args:
        trainer: at the end of a validation.
        metric: tag of the number.
    """
    value = trainer.callback_metrics.get(metric)
    if trainer.state.fn != "fit" or trainer.sanity_checking or value is None:
        return None
    return float(value)
