"""95 % intervals of a mean and of a median, of runs that differ in the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

LEVEL = 0.95
RESAMPLES = 9999


@dataclass(frozen=True)
class Interval:
    """A figure with what is known of it.

    Args:
        value: of the sample.
        low: lower end of its 95 % interval; None, if these runs do not tell.
        high: upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def below(self, other: Interval) -> bool:
        """Whether all of it is less than all of the other; it is not, if one is not known."""
        return self.high is not None and other.low is not None and self.high < other.low

    def better(self, other: Interval, greater: bool) -> bool:
        """Whether all of it is better than all of the other; greater or smaller is better."""
        return other.below(self) if greater else self.below(other)


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean, with a bootstrap interval (BCa; Efron, 1987) from resamples of a fixed seed.

    No interval is given of fewer than three values, of values that are all the same, which say
    nothing of what another seed would bring, and of values that are not all finite. Of ten normal
    values it covers the mean in 90 % of 3000 samples, of five in 85, of three in 71.
    """
    from scipy.stats import bootstrap

    value = float(np.mean(values)) if len(values) else float("nan")
    if len(values) < 3 or not all(map(isfinite, values)) or min(values) == max(values):
        return Interval(value)
    draws = np.random.default_rng(0)
    found = bootstrap(
        (np.asarray(values),),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=draws,
    ).confidence_interval
    low, high = float(found.low), float(found.high)
    return Interval(value, low, high) if low <= high else Interval(value)


def median_interval(values: Sequence[float]) -> Interval:
    """The median, with the interval between two of the sorted values, which may be ∞.

    How many values lie below the true median is binomial, whatever their distribution, so x₍ₖ₎ and
    x₍ₙ₊₁₋ₖ₎ enclose it with at least 95 % for the greatest k that allows it (Thompson, 1936): with
    98 %, of ten. A percentile bootstrap, the other way to treat ∞, is narrower but promises nothing
    of few values: of ten normal ones it covers 94 % in 3000 samples.

    No interval is given of fewer than six values, of which even the least and the greatest enclose
    the median in less than 95 %.
    """
    from scipy.stats import quantile_test

    if not len(values):
        return Interval(float("nan"))
    ordered = sorted(float(x) for x in values)
    lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    value = lower if lower == upper else (lower + upper) / 2
    found = quantile_test(ordered, p=0.5).confidence_interval(LEVEL)
    low, high = float(found.low), float(found.high)
    return Interval(value, low, high) if low <= high else Interval(value)  # not with NaN
