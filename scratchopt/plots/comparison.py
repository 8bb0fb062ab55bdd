"""Runs side by side: those that differ by the seed only are one setting, drawn as one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scratchopt.config.fields import UserError
from scratchopt.pictures.style import DRAWABLE
from scratchopt.runs.directory import Run, labels

SEEDS = ("seed", "task.seed")
QUARTILES_FROM = 5  # runs; of fewer a quartile says nothing


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ by the seed only.

    Args:
        optimizer: name of the choice in conf/optimizer.
        name: what tells it from all other settings, such as "nag, lr=0.1".
        variant: what tells it from other settings of its optimizer, such as "lr=0.1"; it may be
            empty, and the same as that of another optimizer's.
        runs: of it, in the order in which they were given.
    """

    optimizer: str
    name: str
    variant: str
    runs: tuple[Run, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """What its look goes by."""
        return self.optimizer, self.variant


@dataclass(frozen=True)
class Line:
    """What some runs of a setting have logged under one tag.

    Args:
        x: where all of them have a value.
        y: the median of the runs there.
        low: the lowest of them, of five and more the lower quartile.
        high: the highest of them, of five and more the upper quartile.
        tails: what single runs have logged beyond the last of `x`, as (x, y).
        ends: of the runs that diverged, as (x, y); y is infinite where the last value was none.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tails: list[tuple[np.ndarray, np.ndarray]]
    ends: list[tuple[float, float]]


def settings_of(runs: Sequence[Run], without: Sequence[str] = ()) -> list[Setting]:
    """The runs by what they were set to, in order of optimizers, then of what else differs.

    Args:
        runs: of one task.
        without: keys beside the seeds that make no setting of their own, such as `optimizer.lr`.

    Raises:
        UserError: runs of several tasks.
    """
    tasks = sorted({run.task for run in runs})
    if len(tasks) > 1:
        raise UserError(
            f"runs of several tasks ({', '.join(tasks)}) have no common scale; give one"
        )
    same = {*SEEDS, *without}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        decisive = {key: value for key, value in run.settings.items() if key not in same}
        groups.setdefault(json.dumps(decisive, sort_keys=True), []).append(run)
    firsts = [members[0] for members in groups.values()]
    names = labels(firsts, without=same)
    variants = labels(firsts, without=same | _fixed(firsts))
    settings = [
        Setting(run.optimizer, name, variant.removeprefix(run.optimizer).removeprefix(", "), own)
        for run, name, variant, own in zip(
            firsts, names, variants, map(tuple, groups.values()), strict=True
        )
    ]
    return sorted(settings, key=_order)


def line(setting: Setting, tag: str, xs: Sequence[np.ndarray], width: int = 1) -> Line:
    """What is to be drawn of a setting.

    Args:
        setting: whose runs have all logged the tag.
        tag: such as `train/loss`.
        xs: of each run, where each of its values stands on the x axis.
        width: values whose medians are taken first, in each run.
    """
    steps, values = zip(*(series(run, tag) for run in setting.runs), strict=True)
    last = min(s[-1] for s in steps)
    common = sorted(set.intersection(*(set(s.tolist()) for s in steps)))
    rows = [np.isin(s, common) for s in steps]
    beyond = [s > last for s in steps]
    x = np.median([medians(a[row], width) for a, row in zip(xs, rows, strict=True)], axis=0)
    each = np.array([medians(v[row], width) for v, row in zip(values, rows, strict=True)])
    share = (0, 1) if len(each) < QUARTILES_FROM else (0.25, 0.75)
    low, high = np.quantile(each, share, axis=0, method="inverted_cdf")
    tails = [
        (medians(a[row], width), medians(v[row], width))
        for a, v, row in zip(xs, values, beyond, strict=True)
        if row.any()
    ]
    ends = [
        end
        for run, a, v in zip(setting.runs, xs, values, strict=True)
        if (end := _end(run, a, v)) is not None
    ]
    return Line(x, np.median(each, axis=0), low, high, tails, ends)


def series(run: Run, tag: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values that a run has logged; what overflows is infinite."""
    steps, values = np.array(run.history[tag], dtype=float).T
    return steps, np.where(np.abs(values) < DRAWABLE, values, np.inf)


def medians(values: np.ndarray, width: int) -> np.ndarray:
    """Of each `width` values, the last ones fewer."""
    if width == 1:
        return values
    return np.array([np.median(values[i : i + width]) for i in range(0, len(values), width)])


def _fixed(runs: Sequence[Run]) -> set[str]:
    """The keys that differ, if at all, because the optimizers do."""
    values: dict[str, dict[str, set[str]]] = {}
    for run in runs:
        for key, value in run.settings.items():
            values.setdefault(key, {}).setdefault(run.optimizer, set()).add(json.dumps(value))
    fixed = {key for key, by in values.items() if all(len(found) == 1 for found in by.values())}
    return fixed - {"optimizer"}


def _end(run: Run, x: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    lost = np.flatnonzero(~np.isfinite(values))
    if len(lost):
        return float(x[lost[0]]), np.inf
    if run.result and run.result.status == "diverged":
        return float(x[-1]), float(values[-1])
    return None


def _order(setting: Setting) -> tuple[Any, ...]:
    numbers = sorted(
        (key, value)
        for key, value in setting.runs[0].settings.items()
        if key.startswith(("optimizer.", "task.")) and isinstance(value, float | int)
    )
    return setting.optimizer, numbers, setting.variant
