"""Measures how often a comparison names a false winner, and how often it finds a true one.

`python -m tests.programs.calibration 400` makes 400 comparisons of each kind on noisy problems that
take milliseconds a run, by the search and the verdict of scripts/compare.py and with scratchopt's
own optimizers, prints three tables, and ends with 1 if a demand is not met:

- one optimizer under two names, each tuned and run for itself: a winner in at most 5 %;
- the same, every gradient evaluation of the second at 0.9 of the cost: it wins in at least 90 %.

A demand is not met where the whole 95 % interval of the share is beyond it: a test at 5 % may name
winners in more than 5 % of a few hundred comparisons by chance.

The second table says how many seeds such a speed-up takes, by how much the costs of runs spread;
the third, what it saves to stop trials after so many times the least cost, and what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isfinite, log, log10, nan
from statistics import fmean, stdev

import numpy as np
import torch
from scipy.stats import binomtest

import scratchopt
from scratchopt.cli.parser import Parser
from scratchopt.compare.comparison import Contest, Study
from scratchopt.compare.runs import Reading, ScoredRun
from scratchopt.compare.search import GridSearch
from scratchopt.compare.trials import LR, MARGIN, Choice, Trial, truncate_trials
from scratchopt.compare.verdict import reach_verdict
from scratchopt.objective import Objective
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
SPREADS, NUMBERS = (0.03, 0.04, 0.05, 0.08, 0.12), (10, 20, 40)
TO_FIND = 0.04  # the spread up to which the speed-up must be found in ten seeds
MARGINS = (1.1, 1.25, 1.5, 2.0)
# Does a run of each of the settings; those of a lr go together.
DoRuns = Callable[[Sequence[float]], list[ScoredRun]]


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


class Valley:
    """Runs whose cost is 1000·10^(0.8 d²) at an lr d decades from the best, times chance.

    The chance is log-normal, the cost read to one percent, and a run that needs more than 4000 has
    missed the target. Twelve times the best lr diverges.
    """

    objective = Objective("loss", "min", 0.0)

    def __init__(self, spread: float, draws: np.random.Generator) -> None:
        self.spread, self.draws = spread, draws
        self.best = float(10 ** draws.uniform(-0.25, 0.25))

    def __call__(self, lrs: Sequence[float]) -> list[ScoredRun]:
        """Does a run for each lr, in their order."""
        return [self._run(lr) for lr in lrs]

    def _run(self, lr: float) -> ScoredRun:
        off = log10(lr / self.best)
        if off > log10(12):
            return ScoredRun(make_result(status="diverged", cost=10.0), (), None, {LR: lr})
        cost = 1000 * 10 ** (0.8 * off**2) * exp(self.spread * self.draws.standard_normal())
        if cost > 4000:
            end = Reading(4000, 4000.0, 0.0, cost - 4000)
            return ScoredRun(make_result(cost=4000.0), (end,), None, {LR: lr})
        before, point = (Reading(int(x), x, 0.0, 1000 - x) for x in (0.99 * cost, cost))
        hit = replace(point, value=0.0)
        return ScoredRun(make_result(cost=cost), (before, hit), hit, {LR: lr})


Results = dict[Trial, ScoredRun]


def tune(
    search: GridSearch, results: Sequence[Results], do_runs: DoRuns | Sequence[DoRuns]
) -> list[Choice]:
    """Tunes once for each of the results, doing the trials that are not there."""
    count = len(results)
    while wanted := [(i, t) for i in range(count) for t in search.next_trials(results[i])]:
        if isinstance(do_runs, Sequence):
            runs = [do_runs[i]([trial.settings[LR]])[0] for i, trial in wanted]
        else:
            runs = do_runs([trial.settings[LR] for _, trial in wanted])
        for (i, trial), run in zip(wanted, runs, strict=True):
            results[i][trial] = run
    return [search.choose(mine) for mine in results]


def make_study(
    name: str,
    search: GridSearch,
    results: Results,
    choice: Choice,
    tuned: Sequence[ScoredRun],
    untuned: Sequence[ScoredRun],
) -> Study:
    """Makes the study of a tuning, with the trials as a report has them."""
    trials = tuple(truncate_trials(search.list_trials(results), results).values())
    chosen = choice.settings
    return Study(name, search.default, trials, chosen, choice.edges, tuple(tuned), tuple(untuned))


@dataclass(frozen=True)
class Trained:
    """An optimizer that was tuned for itself, and runs of it.

    Args:
        study: with the runs at the chosen and at the default settings.
        fixed: runs at twice the default lr.
        results: of all trials, whole.
    """

    study: Study
    fixed: Sequence[ScoredRun]
    results: Results

    def rename(self, name: str, n: int, tuned: bool, factor: float = 1.0) -> Study:
        """The study under another name, with n of its runs, and another cost of each."""

        def scale(runs: Sequence[ScoredRun]) -> tuple[ScoredRun, ...]:
            return tuple(scale_cost(run, factor) for run in runs[:n])

        if tuned:
            trials = tuple(scale_cost(run, factor) for run in self.study.trials)
            return replace(
                self.study,
                optimizer=name,
                trials=trials,
                tuned=scale(self.study.tuned),
                untuned=scale(self.study.untuned),
            )
        runs = scale(self.fixed)
        return Study(name, self.study.default, (), runs[0].settings, (), runs, ())


def make_search(default: float, objective: Objective, decide: str, budget: int) -> GridSearch:
    """Makes the search that scripts/compare.py makes by default."""
    margin = MARGIN if decide == "cost" else inf
    return GridSearch({LR: default}, {}, objective, decide, budget, margin)


def train(
    case: Case, count: int, decide: str, budget: int, generator: torch.Generator
) -> list[Trained]:
    """Tunes an optimizer `count` times, and runs it at the chosen, the default and the fixed lr."""
    search = make_search(case.default, case.problem.objective, decide, budget)
    until = "target" if decide == "cost" else "end"

    def do_runs(lrs: Sequence[float]) -> list[ScoredRun]:
        return run_batch(case.problem, case.make, lrs, generator, until)

    results: list[Results] = [{} for _ in range(count)]
    choices = tune(search, results, do_runs)
    lrs = [c.settings[LR] if c.settings else case.default for c in choices for _ in range(SEEDS)]
    tuned = do_runs(lrs)
    untuned, fixed = (do_runs([factor * case.default] * len(lrs)) for factor in (1, 2))
    parts = [slice(i * SEEDS, (i + 1) * SEEDS) for i in range(count)]
    return [
        Trained(
            make_study(
                *(case.name, search, mine, choice, tuned[part]),
                cap_defaults(untuned[part], tuned[part], search.margin),
            ),
            fixed[part],
            mine,
        )
        for mine, choice, part in zip(results, choices, parts, strict=True)
    ]


def cap_defaults(
    untuned: Sequence[ScoredRun], tuned: Sequence[ScoredRun], margin: float
) -> list[ScoredRun]:
    """Stops runs at the default settings as scripts/compare.py does."""
    cap = max(run.cost_to_target for run in tuned) if isfinite(margin) else inf
    return [run.truncate(cap) for run in untuned]


def find_winners(
    pairs: Sequence[tuple[Study, Study]], objective: Objective, decide: str
) -> list[str | None]:
    """Finds the winner of each pair, by the verdict."""
    return [reach_verdict(Contest("", objective, pair), decide).winner for pair in pairs]


def measure_share(
    of: Sequence[str | None], holds: Callable[[str | None], bool]
) -> tuple[float, float, str]:
    """Measures the ends of a share's 95 % interval (Wilson), and puts both into words."""
    found = binomtest(sum(map(holds, of)), len(of))
    ends = found.proportion_ci(method="wilson")
    words = f"{found.statistic:6.1%} [{ends.low:5.1%}, {ends.high:5.1%}]"
    return ends.low, ends.high, words


def measure_spread(runs: Sequence[Sequence[ScoredRun]]) -> float:
    """Measures the standard deviation of the costs' logarithms, the mean over studies."""
    logs = [[log(r.cost_to_target) for r in mine if isfinite(r.cost_to_target)] for mine in runs]
    spreads = [stdev(mine) for mine in logs if len(mine) > 1]
    return fmean(spreads) if spreads else nan


def make_lines(
    case: Case, decide: str, everything: Sequence[Trained]
) -> Iterator[tuple[str, bool]]:
    """Makes the lines of the first table, and tells whether each meets the demands."""
    count = len(everything) // 2
    couples = list(zip(everything[:count], everything[count:], strict=True))
    objective = case.problem.objective
    for tuned in (True, False):
        width = measure_spread([mine.study.tuned if tuned else mine.fixed for mine in everything])
        for n in (3, 5, SEEDS) if tuned and decide == "cost" else (SEEDS,):
            alike = [(a.rename("A", n, tuned), b.rename("B", n, tuned)) for a, b in couples]
            least, _, words = measure_share(
                find_winners(alike, objective, decide), lambda name: name is not None
            )
            met = least <= MOST
            found = " " * 22
            if decide == "cost":
                planted = [
                    (a.rename("A", n, tuned), b.rename("B", n, tuned, FACTOR)) for a, b in couples
                ]
                _, most, found = measure_share(
                    find_winners(planted, objective, decide), lambda name: name == "B"
                )
                met = met and (most >= LEAST or n < SEEDS)
            yield (
                (
                    f"{type(case.problem).__name__:17} {case.name:9} {decide:7} "
                    f"{'tuned' if tuned else 'fixed lr':9} {n:5} {width:6.1%}  {words}  {found}"
                ),
                met,
            )


def measure_power(
    width: float, tuned: bool, count: int, seed: int
) -> dict[int, tuple[float, float]]:
    """Measures in valleys how often a winner is named among equals, and the speed-up found.

    Args:
        width: the spread of the costs' logarithms.
        tuned: true to tune each for itself; else both are run at the default.
        count: of comparisons.
        seed: of all chance.

    Returns:
        Both shares, by the number of seeds.
    """
    draws, most = np.random.default_rng(seed), max(NUMBERS)
    search = make_search(1.0, Valley.objective, "cost", BUDGET)

    def make(valley: Valley) -> Trained:
        results: Results = {}
        fixed = valley([1.0] * most)
        if not tuned:
            return Trained(Study("", search.default, (), None, (), (), ()), fixed, results)
        [choice] = tune(search, [results], valley)
        runs = valley([(choice.settings or {})[LR]] * most)
        return Trained(make_study("", search, results, choice, runs, fixed), fixed, results)

    couples = []
    for _ in range(count):
        valley = Valley(width, draws)
        couples.append((make(valley), make(valley)))
    shares = {}
    for n in NUMBERS:
        alike, planted = (
            find_winners(
                [(a.rename("A", n, tuned), b.rename("B", n, tuned, f)) for a, b in couples],
                Valley.objective,
                "cost",
            )
            for f in (1.0, FACTOR)
        )
        shares[n] = 1 - alike.count(None) / count, planted.count("B") / count
    return shares


def measure_margin(
    search: GridSearch, results: Sequence[Results], do_runs: DoRuns | Sequence[DoRuns]
) -> tuple[Sequence[Mapping[str, float] | None], float]:
    """Measures what the tunings choose, and what all trials cost, each begun when it was asked for.

    The runs of a trial are the same whatever the margin: what is there is truncated.
    """
    choices = [choice.settings for choice in tune(search, results, do_runs)]
    spent = 0.0
    for mine in results:
        known: Results = {}
        while wanted := search.next_trials(known):
            trial, cap = next(iter(wanted.items()))
            known[trial] = mine[trial].truncate(cap)
            spent += known[trial].result.cost
    return choices, spent


def make_margin_line(
    name: str, search: GridSearch, results: Sequence[Results], do_runs: DoRuns | Sequence[DoRuns]
) -> str:
    """Makes a line of the third table."""
    everything, most = measure_margin(replace(search, margin=inf), results, do_runs)
    cells = []
    for margin in MARGINS:
        chosen, spent = measure_margin(replace(search, margin=margin), results, do_runs)
        others = fmean(a != b for a, b in zip(chosen, everything, strict=True))
        cells.append(f"{others:7.1%} {spent / most:7.0%}")
    return f"{name:27} " + " ".join(cells)


def main(count: int, seed: int = 0, budget: int = BUDGET) -> None:
    """Makes the comparisons, and prints the tables."""
    torch.set_num_threads(1)
    print(
        f"{count} comparisons a line, budget {budget}, A/A and a second one at {FACTOR} of the cost"
        f"\n{'problem':17} optimizer decides           seeds spread  A/A names a winner    "
        "speed-up is found"
    )
    met, quarter, half = True, max(1, count // 4), max(1, count // 2)
    lines = []
    for case in make_cases():
        for decide in ("cost", "metric"):
            generator = torch.Generator().manual_seed(seed)
            everything = train(case, 2 * count, decide, budget, generator)
            for line, good in make_lines(case, decide, everything):
                print(line + ("" if good else "  not met"), flush=True)
                met = met and good
            if decide == "cost":
                search = make_search(case.default, case.problem.objective, decide, budget)
                name = f"{type(case.problem).__name__} {case.name}"
                results = [mine.results for mine in everything[:quarter]]

                def do_runs(
                    lrs: Sequence[float], case: Case = case, generator: torch.Generator = generator
                ) -> list[ScoredRun]:
                    return run_batch(case.problem, case.make, lrs, generator, "target")

                lines.append(make_margin_line(name, search, results, do_runs))
    print(
        f"\n{half} comparisons a cell in valleys of the lr, by the spread of costs and the "
        "seeds: A/A names a winner, speed-up is found"
    )
    print("spread          " + "".join(f"{n:>9} seeds" for n in NUMBERS))
    for width in SPREADS:
        for tuned in (False, True):
            shares = measure_power(width, tuned, half, seed)
            cells = [f"{false:>9.0%} {right:5.0%}" for false, right in shares.values()]
            print(
                f"{width:6.0%} {'tuned' if tuned else 'fixed lr':8} " + "".join(cells), flush=True
            )
    draws = np.random.default_rng(seed)
    for width in SPREADS:
        valleys = [Valley(width, draws) for _ in range(quarter)]
        search = make_search(1.0, Valley.objective, "cost", budget)
        lines.append(
            make_margin_line(f"valley, spread {width:.0%}", search, [{} for _ in valleys], valleys)
        )
    print(
        f"\n{quarter} tunings a line: other settings are chosen than without a cap; the trials' "
        "cost to that without"
    )
    print(f"{'':27} " + " ".join(f"{f'margin {margin:g}':>15}" for margin in MARGINS))
    print("\n".join(lines))
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    parser = Parser(__doc__)
    parser.add_argument("count", type=int, help="comparisons of each kind, >= 1")
    parser.add_argument("--seed", type=int, default=0, help="of all chance")
    parser.add_argument("--budget", type=int, default=BUDGET, help="trials of each tuning")
    given = parser.parse_args()
    main(given.count, given.seed, given.budget)
