"""Measures how often a comparison names a false winner, and how often it finds a true one.

`python -m tests.programs.calibration 400` makes 400 comparisons of each kind on noisy problems that
take milliseconds a run, by the search and the verdict of scripts/compare.py and with scratchopt's
own optimizers, prints two tables, and ends with 1 if a demand is not met (further arguments: a
seed, and a budget other than 16):

- one optimizer under two names, each tuned and run for itself: a winner in at most 5 %;
- the same, every gradient evaluation of the second at 0.9 of the cost: it wins in at least 90 %.

The second table says how many seeds such a speed-up takes, by how much the costs of runs spread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import exp, isfinite, log, nan
from statistics import fmean, stdev

import numpy as np
import torch
from scipy.stats import binomtest

import scratchopt
from scratchopt.compare.comparison import Contest, Study
from scratchopt.compare.runs import Objective, Reading, ScoredRun
from scratchopt.compare.search import GridSearch
from scratchopt.compare.trials import LR, Trial
from scratchopt.compare.verdict import reach_verdict
from tests.shared.batched_runs import (
    LinearRegression,
    Make,
    Problem,
    Quadratic,
    run_batch,
    scale_cost,
)
from tests.shared.made_comparisons import make_result

BUDGET, SEEDS, FACTOR = 16, 10, 0.9
MOST, LEAST = 0.05, 0.90  # of A/A that name a winner; of speed-ups that are found
SPREADS, NUMBERS = (0.03, 0.05, 0.08, 0.12), (10, 20, 40)


@dataclass(frozen=True)
class Case:
    """An optimizer on a problem.

    Args:
        problem: what is minimized.
        name: of the optimizer.
        make: it, of param groups.
        default: its lr, that the grid is built around; twice that is the fixed lr.
    """

    problem: Problem
    name: str
    make: Make
    default: float


def make_cases() -> list[Case]:
    """Makes all cases."""
    quadratic, regression = Quadratic(), LinearRegression()
    return [
        Case(quadratic, "momentum", lambda groups: scratchopt.Momentum(groups), 0.001),
        Case(quadratic, "nag", lambda groups: scratchopt.NAG(groups), 0.0005),
        Case(quadratic, "adam", lambda groups: scratchopt.Adam(groups), 0.002),
        Case(regression, "sgd", lambda groups: scratchopt.SGD(groups), 0.6),
    ]


def make_studies(
    case: Case, count: int, decide: str, budget: int, generator: torch.Generator
) -> list[Study]:
    """Makes `count` studies, each tuned and run for itself; `untuned` are runs at the fixed lr."""
    problem = case.problem
    search = GridSearch({LR: case.default}, {}, problem.objective, decide, budget)
    results: list[dict[Trial, ScoredRun]] = [{} for _ in range(count)]
    while wanted := [(i, t) for i in range(count) for t in search.next_trials(results[i])]:
        lrs = [trial.settings[LR] for _, trial in wanted]
        for (i, trial), run in zip(
            wanted, run_batch(problem, case.make, lrs, generator), strict=True
        ):
            results[i][trial] = run
    chosen = [search.choose(mine) for mine in results]
    lrs = [c.settings[LR] if c.settings else case.default for c in chosen for _ in range(SEEDS)]
    tuned = run_batch(problem, case.make, lrs, generator)
    fixed = run_batch(problem, case.make, [2 * case.default] * len(lrs), generator)
    return [
        Study(
            case.name,
            search.default,
            tuple(results[i][trial] for trial in search.list_trials(results[i])),
            choice.settings,
            choice.edges,
            tuple(tuned[i * SEEDS : (i + 1) * SEEDS]),
            tuple(fixed[i * SEEDS : (i + 1) * SEEDS]),
        )
        for i, choice in enumerate(chosen)
    ]


def rename_study(study: Study, name: str, n: int, tuned: bool, factor: float = 1.0) -> Study:
    """Gives a study another name, n of its runs and another cost."""
    runs = tuple(scale_cost(run, factor) for run in (study.tuned if tuned else study.untuned)[:n])
    found = replace(study, optimizer=name, tuned=runs, untuned=())
    return found if tuned else replace(found, trials=(), chosen=runs[0].settings, edges=())


def find_winners(
    pairs: Sequence[tuple[Study, Study]], objective: Objective, decide: str
) -> list[str | None]:
    """Finds the winner of each pair, by the verdict."""
    return [reach_verdict(Contest("", objective, pair), decide).winner for pair in pairs]


def measure_share(
    of: Sequence[str | None], holds: Callable[[str | None], bool]
) -> tuple[float, str]:
    """Measures a share, and puts it into words with its 95 % interval (Wilson)."""
    found = binomtest(sum(map(holds, of)), len(of))
    ends = found.proportion_ci(method="wilson")
    return found.statistic, f"{found.statistic:6.1%} [{ends.low:5.1%}, {ends.high:5.1%}]"


def measure_spread(runs: Sequence[Sequence[ScoredRun]]) -> float:
    """Measures the standard deviation of the costs' logarithms, the mean over studies."""
    logs = [[log(r.cost_to_target) for r in mine if isfinite(r.cost_to_target)] for mine in runs]
    spreads = [stdev(mine) for mine in logs if len(mine) > 1]
    return fmean(spreads) if spreads else nan


def make_lines(
    case: Case, count: int, decide: str, seed: int, budget: int
) -> Iterator[tuple[str, bool]]:
    """Makes the lines of the first table, and tells whether each meets the demands."""
    generator = torch.Generator().manual_seed(seed)
    everything = make_studies(case, 2 * count, decide, budget, generator)
    couples = list(zip(everything[:count], everything[count:], strict=True))
    objective = case.problem.objective
    for tuned in (True, False):
        width = measure_spread([study.tuned if tuned else study.untuned for study in everything])
        for n in (3, 5, SEEDS) if tuned and decide == "cost" else (SEEDS,):
            alike = [
                (rename_study(a, "A", n, tuned), rename_study(b, "B", n, tuned)) for a, b in couples
            ]
            false, words = measure_share(
                find_winners(alike, objective, decide), lambda name: name is not None
            )
            met = false <= MOST
            found = " " * 22
            if decide == "cost":
                planted = [
                    (rename_study(a, "A", n, tuned), rename_study(b, "B", n, tuned, FACTOR))
                    for a, b in couples
                ]
                right, found = measure_share(
                    find_winners(planted, objective, decide), lambda name: name == "B"
                )
                met = met and (right >= LEAST or n < SEEDS)
            yield (
                (
                    f"{type(case.problem).__name__:17} {case.name:9} {decide:7} "
                    f"{'tuned' if tuned else 'fixed lr':9} {n:5} {width:6.1%}  {words}  {found}"
                ),
                met,
            )


def measure_power(width: float, n: int, tuning_seeds: int, count: int, seed: int) -> float:
    """Measures how often the speed-up is found among runs of log-normal cost, tuning aside."""
    draws = np.random.default_rng(seed)
    objective = Objective("loss", "min", 0.0)

    def study(name: str, factor: float) -> Study:
        costs = [factor * exp(width * x) * 1000 for x in draws.standard_normal(n)]
        runs = tuple(_make_run_at(cost) for cost in costs)
        return Study(name, {LR: 1.0}, runs[:1] * tuning_seeds, {LR: 1.0}, (), runs, ())

    pairs = [(study("A", 1.0), study("B", FACTOR)) for _ in range(count)]
    return find_winners(pairs, objective, "cost").count("B") / count


def _make_run_at(cost: float) -> ScoredRun:
    before, point = (Reading(int(x), x, 0.0, -1.0) for x in (0.99 * cost, cost))
    return ScoredRun(make_result(), (before, point), point, {LR: 1.0})


def main(count: int, seed: int = 0, budget: int = BUDGET) -> None:
    """Makes the comparisons, and prints the tables."""
    torch.set_num_threads(1)
    print(
        f"{count} comparisons a line, budget {budget}, A/A and a second one at {FACTOR} of the cost"
        f"\n{'problem':17} optimizer decides           seeds spread  A/A names a winner    "
        "speed-up is found"
    )
    met = True
    for case in make_cases():
        for decide in ("cost", "metric"):
            for line, good in make_lines(case, count, decide, seed, budget):
                print(line + ("" if good else "  not met"), flush=True)
                met = met and good
    print("\nspeed-up found, by the spread of costs and the seeds; fixed settings | tuned, 2 seeds")
    print("spread " + "".join(f"{n:>15} seeds" for n in NUMBERS))
    for width in SPREADS:
        cells = [
            f"{measure_power(width, n, 0, max(1, count // 4), seed):>14.0%} | "
            f"{measure_power(width, n, 2, max(1, count // 4), seed):4.0%}"
            for n in NUMBERS
        ]
        print(f"{width:6.0%} " + "".join(cells), flush=True)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
