"""A summary of runs that differ in the seed alone: numbers, and one learning curve."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from scratchopt.compare.runs import FAILURES, ScoredRun
from scratchopt.compare.statistics import Interval, mean_interval, median_interval
from scratchopt.objective import Objective
from scratchopt.pictures.style import DRAWABLE

PLACES = 200  # along the x axis, at most
_NEVER = 1e250  # stands for ∞, with which quantiles cannot be taken


@dataclass(frozen=True)
class Mean(Interval):
    """A mean over the runs that have a number, with its interval.

    Args:
        of: how many runs these are, as a diverged one has none.
    """

    of: int = 0


@dataclass(frozen=True)
class Bounded(Interval):
    """A median or a mean over runs of which some may have been stopped, with its interval.

    Args:
        reached: the most that a run took to the target, where some were stopped: any greater number
            is only known to be exceeded; ∞, where none was stopped.
    """

    reached: float = inf


@dataclass(frozen=True)
class LearningCurve:
    """A median and quartiles over what they have cost, all lists equally long.

    Args:
        cost: gradient evaluations, rising and from where all runs have a reading.
        median: of the metric there.
        low: the quartile below.
        high: the quartile above.
    """

    cost: Sequence[float] = ()
    median: Sequence[float] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Summary:
    """The outcome of some runs that differ in the seed alone.

    Args:
        n: how many runs.
        statuses: how many of each.
        failures: how many diverged, and how many failed.
        missed: how many did not reach the target.
        stopped: how many mattered no more before they reached it.
        cost_to_target: median gradient evaluations, over all runs, a miss being ∞.
        mean_cost_to_target: their mean; of stopped runs what it is at least.
        steps_to_target: median updates.
        final: the metric at the end.
        best: the best reading of the metric.
        train_loss: the last one.
        test: metrics of the test set, by tag.
        updates: of the parameters, to the end.
        cost: gradient evaluations to the end.
        memory: the most bytes; None, where not known.
        curve: of the metric.
    """

    n: int
    statuses: Mapping[str, int]
    failures: Mapping[str, int]
    missed: int
    stopped: int
    cost_to_target: Bounded
    mean_cost_to_target: Bounded
    steps_to_target: Bounded
    final: Mean
    best: Mean
    train_loss: Mean
    test: Mapping[str, Mean]
    updates: Mean
    cost: Mean
    memory: int | None
    curve: LearningCurve


def summarize(runs: Sequence[ScoredRun], objective: Objective) -> Summary | None:
    """Summarizes some runs that differ in the seed alone; None, if there are none."""
    if not runs:
        return None
    statuses = [run.result.status for run in runs]
    return Summary(
        n=len(runs),
        statuses={status: statuses.count(status) for status in sorted(set(statuses))},
        failures={status: statuses.count(status) for status in FAILURES},
        missed=sum(run.to_target is None and not run.stopped for run in runs),
        stopped=sum(run.stopped for run in runs),
        cost_to_target=_find_median(runs, lambda run: run.least_cost),
        mean_cost_to_target=_average_costs(runs),
        steps_to_target=_find_median(runs, lambda run: run.least_steps),
        final=_average(runs, lambda run: run.final(objective)),
        best=_average(runs, lambda run: run.best(objective)),
        train_loss=_average(runs, lambda run: run.train_loss),
        test={
            tag: _average([run for run in runs if tag in run.test], lambda run, t=tag: run.test[t])
            for tag in sorted({tag for run in runs for tag in run.test})
        },
        updates=_average(runs, lambda run: run.result.updates),
        cost=_average(runs, lambda run: run.result.cost),
        memory=max((run.memory for run in runs if run.memory is not None), default=None),
        curve=compute_learning_curve(runs, objective),
    )


def _find_median(runs: Sequence[ScoredRun], number: Callable[[ScoredRun], float]) -> Bounded:
    found = median_interval([number(run) for run in runs])
    reached = inf
    if any(run.stopped for run in runs):
        reached = max((number(run) for run in runs if run.to_target), default=0.0)
    return Bounded(found.value, found.low, found.high, reached)


def _average_costs(runs: Sequence[ScoredRun]) -> Bounded:
    """The mean cost to the target; of stopped runs a lower bound, and so without an interval."""
    found = mean_interval([run.least_cost for run in runs])
    if any(run.stopped for run in runs):
        return Bounded(found.value, reached=0.0)
    return Bounded(found.value, found.low, found.high)


def _average(runs: Sequence[ScoredRun], number: Callable[[ScoredRun], float]) -> Mean:
    values = [value for run in runs if isfinite(value := number(run))]
    found = mean_interval(values)
    return Mean(found.value, found.low, found.high, len(values))


def compute_learning_curve(runs: Sequence[ScoredRun], objective: Objective) -> LearningCurve:
    """Computes median and quartiles of the last reading, at every cost where a run has one.

    A run that ended well keeps its last reading, so that an early end does not change who is in the
    median; one that diverged or failed is the worst there is after its last reading, and from the
    start if it has none.
    """
    runs = [run for run in runs if run.readings or run.failed]
    costs = sorted({reading.cost for run in runs for reading in run.readings})
    if not costs:
        return LearningCurve()
    start = max(run.readings[0].cost for run in runs if run.readings)
    costs = [cost for cost in costs if cost >= start]
    if len(costs) > PLACES:
        costs = [costs[i] for i in np.linspace(0, len(costs) - 1, PLACES).astype(int)]
    table = np.array([[_read_at(run, cost, objective) for cost in costs] for run in runs])
    quartiles = np.quantile(np.clip(table, -_NEVER, _NEVER), (0.25, 0.5, 0.75), axis=0)
    quartiles[np.abs(quartiles) > DRAWABLE] *= inf  # between ∞ and a number there is no quantile
    low, median, high = quartiles.tolist()
    return LearningCurve(costs, median, low, high)


def _read_at(run: ScoredRun, cost: float, objective: Objective) -> float:
    at = bisect_right([reading.cost for reading in run.readings], cost) - 1
    beyond = not run.readings or (at == len(run.readings) - 1 and cost > run.readings[at].cost)
    if (run.failed and beyond) or not isfinite(run.readings[at].value):
        return objective.worst
    return run.readings[at].value
