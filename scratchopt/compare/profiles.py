"""Performance over several tasks, and what the defaults would have done."""

from __future__ import annotations

from math import inf, isfinite

from scratchopt.compare.runs import Comparison, Contest, Measured
from scratchopt.compare.statistics import median_interval
from scratchopt.compare.trials import rank

WIDEST = 4.0  # the τ up to which AlgoPerf integrates


def profile(comparison: Comparison) -> dict[str, list[tuple[float, float]]]:
    """The performance profile of each optimizer (Dolan and Moré, 2002), tuned.

    ρ(τ) is the share of tasks on which its cost to the target, the median over seeds, is at most τ
    times the least of all. A task that it misses counts as ∞, for each τ; so does one that nobody
    reaches.

    Returns:
        By name the steps of ρ: pairs of τ, from 1 to 4, and ρ from there on.

    Reference: Dolan and Moré, "Benchmarking optimization software with performance profiles",
    Mathematical Programming 91 (2002), arXiv cs/0102001; Dahl et al., "Benchmarking neural network
    training algorithms", 2023, arXiv 2306.07179, for τ = 4.
    """
    ratios = _ratios(comparison)
    found: dict[str, list[tuple[float, float]]] = {}
    for name, mine in ratios.items():
        steps = sorted({1.0, WIDEST, *(r for r in mine if r <= WIDEST)})
        found[name] = [(tau, sum(r <= tau for r in mine) / len(mine)) for tau in steps]
    return found


def profile_score(comparison: Comparison) -> dict[str, float]:
    """The mean of ρ over τ from 1 to 4: 1, if always the best; 0, if never within four times."""
    ratios = _ratios(comparison)
    return {
        name: sum(max(0.0, WIDEST - r) for r in mine) / (WIDEST - 1) / len(mine)
        for name, mine in ratios.items()
    }


def best_of_defaults(contest: Contest, decide: str) -> tuple[str, tuple[Measured, ...]] | None:
    """The optimizer that is best with its default settings, and its runs; None without any.

    To try some optimizers as they come is about as good as to tune one (Schmidt et al., 2021), so
    that a comparison owes its reader this figure.
    """
    runs = {study.optimizer: study.untuned for study in contest.studies if study.untuned}
    if not runs:
        return None
    name = min(runs, key=lambda name: rank(runs[name], contest.objective, decide, 1.0)[:4])
    return name, runs[name]


def _ratios(comparison: Comparison) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for contest in comparison.contests:
        costs = {
            study.optimizer: median_interval([run.cost_to_target for run in study.tuned]).value
            if study.tuned
            else inf
            for study in contest.studies
        }
        least = min(costs.values(), default=inf)
        for name, cost in costs.items():
            found.setdefault(name, []).append(cost / least if isfinite(cost) else inf)
    return found
