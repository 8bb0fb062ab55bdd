"""Lines: the runs of one setting as their median, with a band about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scratchopt.pictures.style import DRAWABLE
from scratchopt.plots.settings import Setting
from scratchopt.runs.directory import Run

QUARTILES_FROM = 5  # runs; of fewer a quartile says nothing


@dataclass(frozen=True)
class Line:
    """The median and the spread of what the runs of a setting have logged under one tag.

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


def summarize_setting(setting: Setting, tag: str, xs: Sequence[np.ndarray], width: int = 1) -> Line:
    """Summarizes what the runs of a setting have logged under a tag.

    Args:
        setting: whose runs have all logged the tag.
        tag: such as `train/loss`.
        xs: of each run, where each of its values stands on the x axis.
        width: values whose medians are taken first, in each run.
    """
    steps, values = zip(*(read_series(run, tag) for run in setting.runs), strict=True)
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
        if (end := _divergence(run, a, v)) is not None
    ]
    return Line(x, np.median(each, axis=0), low, high, tails, ends)


def read_series(run: Run, tag: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the steps and values that a run has logged; what overflows is infinite."""
    steps, values = np.array(run.history[tag], dtype=float).T
    return steps, np.where(np.abs(values) < DRAWABLE, values, np.inf)


def medians(values: np.ndarray, width: int) -> np.ndarray:
    """The median of each `width` values, of fewer at the end."""
    if width == 1:
        return values
    return np.array([np.median(values[i : i + width]) for i in range(0, len(values), width)])


def _divergence(run: Run, x: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    """The point (x, y) at which a run diverged, if it did."""
    lost = np.flatnonzero(~np.isfinite(values))
    if len(lost):
        return float(x[lost[0]]), np.inf
    if run.result and run.result.status == "diverged":
        return float(x[-1]), float(values[-1])
    return None
