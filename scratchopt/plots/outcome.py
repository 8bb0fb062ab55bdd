"""The outcome of a run: the one number by which runs are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scratchopt.pictures.style import DRAWABLE
from scratchopt.plots.lines import read_series
from scratchopt.plots.panel import RISE
from scratchopt.runs.directory import Run
from scratchopt.runs.result import Result

STAGES = {"train": "last", "val": "validation"}  # what a tag's first word is called, if not so
DIVERGED, TOO_LONG = "diverged", "not within the run's steps"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run: a number, the lower the better unless its name says otherwise.

    Args:
        name: of the number.
        value: infinite where there is none.
        mark: why there is none, `DIVERGED` or `TOO_LONG`; else empty.
        greater: true where the greater is the better.
    """

    name: str
    value: float
    mark: str = ""
    greater: bool = False

    @property
    def rank(self) -> float:
        """A number that is the less the better the outcome, infinite where there is none."""
        return -self.value if self.greater and not self.mark else self.value


def compute_outcomes(runs: Sequence[Run]) -> list[Outcome]:
    """Computes the same number for each run: the first of these that all have.

    Gradient evaluations until it converged, if any did; the test error, 1 − `test/accuracy`; the
    test loss; the last value of the metric that the task's `comparison:` names; the last training
    loss. A run that diverged or failed has none of them. A loss that is not finite, or beyond a
    thousand times the largest first one, has diverged.

    Args:
        runs: of one task, with a result.
    """
    results = [run.result for run in runs if run.result]
    if any(result.status == "converged" for result in results):
        return [_convergence(result) for result in results]
    sound = [set(result.metrics) for result in results if not result.failed]
    known = set[str].intersection(*sound) if sound else set()
    comparison = runs[0].config["comparison"] or {}
    metric = comparison.get("metric")
    tags = ["test/accuracy", "test/loss", *([metric] if metric else [])]
    tag = next(filter(known.__contains__, tags), "train/loss")
    stage, _, name = tag.partition("/")
    name = f"{STAGES.get(stage, stage)} {name}"
    if name.endswith("accuracy"):
        found = [1 - result.metrics.get(tag, -np.inf) for result in results]
        return [_final(f"{name.replace('accuracy', 'error')}, 1 − accuracy", x, 1) for x in found]
    if tag == metric and comparison["mode"] == "max":
        found = [result.metrics.get(tag, np.inf) for result in results]
        name = f"{name}, greater is better"
        return [replace(_final(name, value, DRAWABLE), greater=True) for value in found]
    logged = [run for run in runs if run.history.get("train/loss")]
    firsts = [abs(read_series(run, "train/loss")[1][0]) for run in logged]
    limit = RISE * max(firsts, default=np.inf)
    return [_final(name, result.metrics.get(tag, np.inf), limit) for result in results]


def _convergence(result: Result) -> Outcome:
    name = "gradient evaluations to converge"
    if result.status == "converged":
        return Outcome(name, result.cost)
    return Outcome(name, np.inf, DIVERGED if result.status == "diverged" else TOO_LONG)


def _final(name: str, value: float, limit: float) -> Outcome:
    good = abs(value) <= limit
    return Outcome(name, value if good else np.inf, "" if good else DIVERGED)
