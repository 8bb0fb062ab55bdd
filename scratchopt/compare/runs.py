"""A run of a comparison, held against the objective of its task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite, nan
from typing import Any

from scratchopt.objective import Objective
from scratchopt.runs.result import Result

FAILURES = ("diverged", "failed")


@dataclass(frozen=True)
class Reading:
    """A reading of the objective's metric.

    Args:
        steps: updates of the parameters before it.
        cost: gradient evaluations before it, products with a curvature counted as such.
        seconds: of training before it, validations not counted.
        value: of the metric.
    """

    steps: int
    cost: float
    seconds: float
    value: float


@dataclass(frozen=True)
class ScoredRun:
    """A run that has come to its end, held against the objective of its task.

    Args:
        result: of the run.
        readings: of the objective's metric, in order of steps; the last one is of the end.
        to_target: the first of them at which the target was reached; None, if it never was, or if
            the run diverged or failed.
        settings: what was searched, by key, such as {"optimizer.lr": 0.1}.
        address: of the run in its store; the directory, where it was found outside of one.
    """

    result: Result
    readings: tuple[Reading, ...]
    to_target: Reading | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""

    @property
    def failed(self) -> bool:
        """Tells whether the run diverged, or ended with an error."""
        return self.result.failed

    @property
    def stopped(self) -> bool:
        """Tells whether the run was stopped at a cost, as what came after it did not matter.

        It then has neither failed nor missed the target: it needs `more_than` that cost.
        """
        return self.result.status == "stopped"

    @property
    def more_than(self) -> float:
        """The gradient evaluations that a stopped run has spent short of the target; else 0."""
        return self.result.cost if self.stopped else 0.0

    @property
    def least_cost(self) -> float:
        """Gradient evaluations that the target takes at least: of a stopped run `more_than`."""
        return self.more_than if self.stopped else self.cost_to_target

    @property
    def least_steps(self) -> float:
        """Updates that the target takes at least; of a stopped run those of its cost so far."""
        if not self.stopped:
            return self.steps_to_target
        last = self.readings[-1] if self.readings else None
        return last.steps * self.more_than // last.cost if last else 0

    @property
    def batch_size(self) -> int | None:
        """The examples in a batch: what one evaluation is of; None, if the task has no such key."""
        return self.result.hyperparameters.get("task.batch_size")

    @property
    def train_loss(self) -> float:
        """The last training loss; NaN, where there is none."""
        return self.result.metrics.get("train/loss", nan)

    @property
    def test(self) -> dict[str, float]:
        """The metrics of the test set, by tag; empty, where it was not asked for."""
        metrics = self.result.metrics
        return {tag: metrics[tag] for tag in sorted(metrics) if tag.startswith("test/")}

    @property
    def memory(self) -> int | None:
        """The bytes of parameters, gradients and optimizer state; None, where not known."""
        return sum(self.result.memory.values()) if self.result.memory else None

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """The status and all readings, times aside: runs that share them are one run."""
        readings = ((r.steps, r.cost, repr(r.value)) for r in self.readings)  # as NaN ≠ NaN
        return self.result.status, *readings

    @property
    def cost_to_target(self) -> float:
        """Gradient evaluations until the target was reached; ∞, if it never was."""
        return self.to_target.cost if self.to_target else inf

    @property
    def steps_to_target(self) -> float:
        """Updates until the target was reached; ∞, if it never was."""
        return self.to_target.steps if self.to_target else inf

    @property
    def seconds_to_target(self) -> float:
        """Seconds of training until the target was reached; ∞, if it never was."""
        return self.to_target.seconds if self.to_target else inf

    @property
    def seconds_per_step(self) -> float:
        """Seconds of training by an update; NaN without any."""
        updates = self.result.updates
        return self.result.training_seconds / updates if updates else nan

    def final(self, objective: Objective) -> float:
        """The metric at the end: the worst there is, where the run diverged or failed."""
        return objective.worst if self.failed or not self.readings else self.readings[-1].value

    def truncate(self, cost: float) -> ScoredRun:
        """The run as it is known after so many gradient evaluations.

        One that took no more is itself. Any other is stopped there, whatever came of it later: at
        the target, diverged, or stopped at a greater cost.

        Args:
            cost: gradient evaluations, > 0; a reading at just that cost is still known.
        """
        known = tuple(reading for reading in self.readings if reading.cost <= cost)
        at_target = self.to_target is not None and self.to_target.cost <= cost
        if at_target or self.result.cost <= cost:
            return self
        last = known[-1] if known else Reading(0, 0.0, 0.0, nan)
        result = replace(
            self.result,
            status="stopped",
            ending=f"stopped after {cost:,.10g} gradient evaluations",
            steps=last.steps,
            updates=last.steps,
            evaluations=int(cost),
            cost=cost,
            validations=[row for row in self.result.validations if row["cost"] <= cost],
            metrics={},
            training_seconds=last.seconds,
            error=None,
        )
        return replace(self, result=result, readings=known, to_target=None)

    def best(self, objective: Objective) -> float:
        """The best reading of the metric."""
        values = [reading.value for reading in self.readings if isfinite(reading.value)]
        return max(values, key=objective.goodness, default=objective.worst)


def find_first_hit(readings: Iterable[Reading], objective: Objective) -> Reading | None:
    """Finds the first reading at the target; None, if there is none."""
    return next((reading for reading in readings if objective.is_reached(reading.value)), None)
