"""A test that asks for more than what two optimizers alike would differ by through their tuning."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, isfinite, log, sqrt
from statistics import fmean, variance

from scripts.comparing.measured import Study
from scripts.comparing.significance import mann_whitney


def handicapped_p(a: Sequence[float], b: Sequence[float], decide: str, seeds: float) -> float:
    """Of the test beyond the margin that two optimizers alike would part by through their tuning.

    The settings of each were chosen by the mean of k seeds, at best, and so by chance where they
    differ by less than its standard error, s/√k, s the spread of runs. So the better one's runs are
    made worse by as much before they are tested, costs on a logarithmic scale; and if they are not
    the better ones then, p is 1. Of 400 pairs of names for one Adam, tuned each for itself, 5 %
    were told apart with a margin of s/√(2k), of 300 without any 9 %.

    Args:
        a: what the runs of the one are judged by; less is better.
        b: the same of the other.
        decide: cost or metric.
        seeds: k; ∞ for no margin.
    """
    better, worse = (a, b) if wins(a, b) > 0 else (b, a)
    spread = _spread(better, worse, decide) / sqrt(seeds)
    handicapped = [x * exp(spread) if decide == "cost" else x + spread for x in better]
    return mann_whitney(handicapped, worse) if wins(handicapped, worse) > 0 else 1.0


def _spread(a: Sequence[float], b: Sequence[float], decide: str) -> float:
    """The standard deviation within the two samples, of the logarithms if they are costs."""
    squares, degrees = 0.0, 0
    for sample in (a, b):
        finite = [log(max(x, 1.0)) if decide == "cost" else x for x in sample if isfinite(x)]
        if len(finite) > 1:
            squares, degrees = squares + variance(finite) * (n := len(finite) - 1), degrees + n
    return sqrt(squares / degrees) if degrees else 0.0


def tuning_seeds(study: Study) -> float:
    """How many trials the chosen settings had; ∞, if there was no tuning."""
    if study.chosen is None:
        return inf
    mine = sum(dict(run.settings) == dict(study.chosen) for run in study.trials)
    return mine or inf


def wins(a: Sequence[float], b: Sequence[float]) -> float:
    """How often one of the first is the better, less how often it is the worse; in [−1, 1]."""
    return fmean((x < y) - (x > y) for x in a for y in b)
