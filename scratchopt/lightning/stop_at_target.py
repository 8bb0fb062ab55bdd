"""StopAtTarget: ends a run at the first reading of a metric that is at its target."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from scratchopt.lightning.monitor import OptimizerMonitor
from scratchopt.lightning.validations import read_validation
from scratchopt.objective import Objective


class StopAtTarget(Callback):
    """Stops the run at the first validation at which a metric has reached its target.

    A number that the OptimizerMonitor logs, such as `train/loss`, is read where the monitor writes:
    after every `write_every` steps. The value that has reached the target is in `reached`.
    Lightning's EarlyStopping with a `stopping_threshold` asks for more than the target.

    Stands behind the OptimizerMonitor and before the Checkpoint in the Trainer's callbacks.

    Args:
        objective: the metric and its target. Without a target the run is left alone.
        monitor: a callback of the same Trainer.
    """

    def __init__(self, objective: Objective, monitor: OptimizerMonitor) -> None:
        self.objective, self.monitor = objective, monitor
        self.reached: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets an earlier fit's target."""
        if stage == "fit":
            self.reached = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves a run alone that was at its target when it was saved."""
        trainer.should_stop = trainer.should_stop or self.reached is not None

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Looks at what the monitor has written."""
        every = self.monitor.write_every
        if self.monitor.count_updates(trainer) % every == 0:
            rows = self.monitor.history.get(self.objective.metric, [])[-every:]
            self._look(trainer, [value for _, value in rows])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at what the validation has found."""
        value = read_validation(trainer, self.objective.metric)
        if value is not None:
            self._look(trainer, [value])

    def state_dict(self) -> dict[str, Any]:
        """The value that has reached the target."""
        return {"reached": self.reached}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the value that has reached the target."""
        self.reached = state_dict["reached"]

    def _look(self, trainer: Trainer, values: list[float]) -> None:
        """Stops the run, in all processes, if one of the values is at the target."""
        reached = [value for value in values if self.objective.is_reached(value)]
        if trainer.strategy.reduce_boolean_decision(bool(reached), all=False):
            self.reached = reached[0] if reached else self.objective.target
            trainer.should_stop = True
