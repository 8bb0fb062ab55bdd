"""The search for an optimizer's settings: a function of its trials' results, and of nothing else.

Whoever runs the trials asks `next_trials` what to run, runs it in any order, adds the results to
those that are known, and asks again until there is nothing left. As the answer depends on the known
results alone, a sweep that was killed goes on with the same trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import inf
from typing import Any, Protocol

from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.trials import (
    CRITERIA,
    LR,
    Choice,
    Results,
    Trial,
    choose_settings,
    count_reserved,
    find_cap,
    make_sort_key,
    race_finalists,
    truncate_trials,
)
from scratchopt.config.fields import UserError
from scratchopt.objective import Objective


class Search(Protocol):
    """A search for the best settings."""

    def list_trials(self, results: Results) -> dict[Trial, float]:
        """Lists all trials so far, in order, with or without a result; at most the budget.

        Beside each stands its cap, the cost after which nothing matters that becomes of it; ∞, if
        it has none.
        """
        ...

    def next_trials(self, results: Results) -> dict[Trial, float]:
        """Lists the trials that can be run now, the first one first, and the cap of each.

        There is none if the budget is spent.
        """
        ...

    def choose(self, results: Results) -> Choice:
        """Chooses the best settings, of those trials that have a result."""
        ...


@dataclass(frozen=True)
class GridSearch:
    """A search on a grid of lrs that extends and refines itself.

    It begins with an odd number of lrs, about 9/16 of the budget and at most nine, half a decade
    apart, the default in their middle. While the best one is the least or the greatest, the next
    one beyond is added; else the geometric means with its two neighbours, until these are 1/16 of
    a decade apart (a factor of 1.15) or three quarters of the budget are spent. The rest is a race:
    each time the best settings so far, by the mean over their seeds, are run with the next seed. By
    one seed alone the luckiest would be chosen, which shows when it is run again. A budget below
    eight has no room for that.

    A trial on the grid that has passed `margin` times the least cost of all there can't become the
    best, and is stopped; a trial of the race is not, as it measures a mean. The greatest lrs are
    asked for first: what diverges ends early, and the best is mostly among the greatest that do
    not. What is decided depends on no more of a run than what is known up to its cap, however much
    further it went, and so not on the order in which runs end.

    With further axes there is such a grid for each combination of their values, and an even share
    of the budget for each; an axis whose key the optimizer does not have is left out. Every lr but
    the default has three significant digits, so that it can be typed.

    Args:
        default: the optimizer's own settings of what may be searched, the lr among them.
        axes: values of further keys, such as {"optimizer.momentum": [0.9, 0.99]}.
        objective: of the task.
        decide: cost or metric, as in `scratchopt.compare.trials`.
        budget: number of trials, exactly as many for any optimizer.
        margin: times the least cost, after which a trial is stopped, > 1; ∞, if none is.

    Raises:
        UserError: a default lr, a budget or a `decide` that no grid can be built on.
    """

    default: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    objective: Objective
    decide: str
    budget: int
    margin: float = inf

    def __post_init__(self) -> None:
        lr = self.default[LR]
        if not lr > 0:
            raise UserError(f"{LR}={lr}: a grid around it needs a default > 0")
        if self.budget < 1:
            raise UserError(f"budget={self.budget}: must be an integer >= 1")
        if len(shares := self._shares()) > self.budget:
            raise UserError(
                f"budget={self.budget}: the {len(shares)} combinations of what is tuned need a "
                f"trial each; give budget={len(shares)} or more"
            )
        if self.decide not in CRITERIA:
            raise UserError(f"decide={self.decide}: must be one of {', '.join(CRITERIA)}")

    def list_trials(self, results: Results) -> dict[Trial, float]:
        """Lists all trials so far, in order, and the cap of each; at most the budget."""
        caps: dict[Trial, float] = {}
        complete = True
        for values, share in self._shares():
            mine, mine_complete = self._walk(values, share, results)
            caps |= mine
            complete = complete and mine_complete
        if complete:
            known, left = truncate_trials(caps, results).values(), self.budget - len(caps)
            caps |= dict.fromkeys(race_finalists(known, results, self._sort_key, left), inf)
        return caps

    def next_trials(self, results: Results) -> dict[Trial, float]:
        """Lists the trials that can be run now, the greatest lr first, and the cap of each."""
        missing = {t: cap for t, cap in self.list_trials(results).items() if t not in results}
        return dict(sorted(missing.items(), key=lambda item: -item[0].settings[LR]))

    def choose(self, results: Results) -> Choice:
        """Chooses the best settings, of those trials that have a result."""
        known = truncate_trials(self.list_trials(results), results)
        return choose_settings(known.values(), self._sort_key)

    def _shares(self) -> list[tuple[dict[str, Any], int]]:
        """The combinations of the axes' values, the default's first, and each one's budget."""
        axes = {key: values for key, values in self.axes.items() if key in self.default}
        combinations = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        own = {key: self.default[key] for key in axes}
        combinations.sort(key=lambda values: values != own)
        each, more = divmod(self.budget, len(combinations))
        shares = [each + (i < more) for i in range(len(combinations))]
        return list(zip(combinations, shares, strict=True))

    def _walk(
        self, values: Mapping[str, Any], share: int, results: Results
    ) -> tuple[dict[Trial, float], bool]:
        """Lists the trials of one grid and the cap of each, and says whether these are all."""

        def trial(exponent: Fraction) -> Trial:
            lr = self.default[LR]
            lr = float(f"{lr * 10 ** float(exponent):.3g}") if exponent else lr
            return Trial.from_settings({**self.default, **values, LR: lr})

        def cap(exponents: list[Fraction]) -> dict[Trial, float]:
            trials = [trial(x) for x in exponents]
            known = (results[trial] for trial in trials if trial in results)
            return dict.fromkeys(trials, find_cap(known, self.margin))

        def order(exponents: list[Fraction]) -> list[Fraction] | None:
            if any(trial(x) not in results for x in exponents):
                return None
            known = truncate_trials(cap(exponents), results)
            return sorted(exponents, key=lambda x: self._sort_key([known[trial(x)]]))

        reserve = count_reserved(self.budget) // len(self._shares())
        exponents, complete = walk_lrs(share, reserve, order)
        return cap(exponents), complete

    def _sort_key(self, runs: Sequence[ScoredRun]) -> Any:
        return make_sort_key(runs, self.objective, self.decide, float(self.default[LR]))


HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)  # decades
FINEST = Fraction(1, 16)  # between neighbours, at last
WIDEST = 9  # points at first: two decades to either side


def start_exponents(budget: int) -> list[Fraction]:
    """The exponents to begin with: an odd number of them around 0, about 9/16 of the budget."""
    count = 2 * round((Fraction(9, 16) * budget - 1) / 2) + 1
    count = max(min(count, WIDEST), 3 if budget >= 3 else 1)
    return [HALF * k for k in range(-(count // 2), count // 2 + 1)]


def next_exponents(exponents: Sequence[Fraction], order: Sequence[Fraction]) -> list[Fraction]:
    """Lists what to try next, the more promising first: one beyond an edge, or two midpoints.

    Args:
        exponents: tried so far.
        order: the same, the best first.
    """
    best = order[0]
    if not is_inside(exponents, best):
        return [best - HALF if best == min(exponents) else best + HALF]
    below = max(x for x in exponents if x < best)
    above = min(x for x in exponents if x > best)
    sides = sorted((below, above), key=order.index)
    return [(best + side) / 2 for side in sides if abs(best - side) > FINEST]


def is_inside(exponents: Sequence[Fraction], best: Fraction) -> bool:
    """Tells whether there are points to both sides."""
    return min(exponents) < best < max(exponents)


def is_settled(exponents: Sequence[Fraction], best: Fraction) -> bool:
    """Tells whether there are points to both sides, none further off than a quarter decade."""
    near = [x for x in exponents if abs(x - best) <= QUARTER]
    return is_inside(near, best)


def walk_lrs(
    budget: int, reserve: int, order: Callable[[list[Fraction]], list[Fraction] | None]
) -> tuple[list[Fraction], bool]:
    """Lists the exponents tried, or to be tried now, in order; and says whether these are all.

    Args:
        budget: number of points.
        reserve: how many of them are not to be spent on refining beyond a quarter decade.
        order: of points, the best first; None, if that is not known yet.
    """
    exponents = start_exponents(budget)
    while True:
        known = order(exponents)
        if known is None:
            return exponents, False
        room = budget - len(exponents) - (reserve if is_settled(exponents, known[0]) else 0)
        more = next_exponents(exponents, known)[: max(room, 0)]
        if not more:
            return exponents, True
        exponents = exponents + more
