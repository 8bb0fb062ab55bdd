"""What a smaller budget would have brought: the expected best of k trials (Dodge et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, isfinite, log10

from scratchopt.compare.runs import Measured, Objective, Study
from scratchopt.compare.trials import LR, by_settings, in_its_sign, outcome

FEWEST = 3  # points of the grid, without which all settings stand for it


def expected_best(study: Study, objective: Objective, decide: str) -> list[tuple[int, float]]:
    """For k = 1, 2, …: the mean, over all choices of k of the settings, of the best outcome.

    Dodge et al. draw their trials at random, with replacement when they estimate. A grid is no such
    sample: its points are distinct, so k of them are drawn without replacement, and the best of all
    is what k = all brings. They are drawn from the points half a decade apart, extensions included,
    each with its first seed. Those of the refinement lie where the others had shown the best to
    be, and would flatter small k. Where there are not three such points, as where a sampler drew,
    they are drawn from all settings.

    With outcomes x₁ ≤ … ≤ xₘ, less being better, E = Σᵢ xᵢ·C(m − i, k − 1)/C(m, k).

    Returns:
        Pairs of k and the cost, or the metric: ∞, or its worst, for as long as k trials may all
        come to nothing.

    Reference: Dodge et al., "Show your work", EMNLP 2019, arXiv 1909.03004.
    """
    first = [runs[0] for runs in by_settings(study.trials).values()]
    default = float(study.default.get(LR, 0.0))
    grid = [run for run in first if _on_grid(float(run.settings.get(LR, 0)), default)]
    drawn: Sequence[Measured] = grid if len(grid) >= FEWEST else first
    values = sorted(outcome(run, objective, decide) for run in drawn)
    counts = range(1, len(values) + 1)
    return [(k, in_its_sign(_expected(values, k), objective, decide)) for k in counts]


def _expected(values: Sequence[float], k: int) -> float:
    m = len(values)
    ways = ((x, comb(m - i, k - 1)) for i, x in enumerate(values, 1))
    return sum(x * number for x, number in ways if number) / comb(m, k)


def _on_grid(lr: float, default: float) -> bool:
    if lr <= 0 or default <= 0:
        return False
    halves = 2 * log10(lr / default)
    return isfinite(halves) and abs(halves - round(halves)) < 0.01  # lrs have three digits
