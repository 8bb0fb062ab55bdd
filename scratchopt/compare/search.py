"""The tuning of one optimizer: a function of what its trials came to, and of nothing else.

Whoever runs the trials asks `wanted` what to run, runs it in any order, adds the outcomes to what
is known, and asks again until nothing is wanted. As the answer depends on the known outcomes
alone, a sweep that was killed goes on with the same trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any, Protocol

from scratchopt.compare.lr_line import walked
from scratchopt.compare.runs import Measured, Objective
from scratchopt.compare.trials import (
    DECIDE,
    LR,
    Choice,
    Results,
    Trial,
    choice,
    finals,
    rank,
    reserve,
)
from scratchopt.config.fields import UserError


class Search(Protocol):
    """What can be asked of a search."""

    def asked(self, results: Results) -> list[Trial]:
        """All trials so far, in order, those without a result included; at most the budget."""
        ...

    def wanted(self, results: Results) -> list[Trial]:
        """The trials that can be run now; none, if the budget is spent."""
        ...

    def chosen(self, results: Results) -> Choice:
        """The best settings, of those trials that have a result."""
        ...


@dataclass(frozen=True)
class Grid:
    """Search on a grid of lrs that extends and refines itself.

    It begins with an odd number of lrs, about 9/16 of the budget and at most nine, half a decade
    apart, the default in their middle. While the best one is the least or the greatest, the next
    one beyond is added; else the geometric means with its two neighbours, until these are 1/16 of
    a decade apart (a factor of 1.15) or three quarters of the budget are spent. The rest goes to
    further seeds for the four best settings, in turn; of these the one with the best mean over its
    seeds is chosen. By one seed alone the luckiest would be, which shows when it is run again. A
    budget below eight has no room for that.

    With further axes there is such a grid for each combination of their values, and an even share
    of the budget for each; an axis whose key the optimizer does not have is left out. Every lr but
    the default has three significant digits, so that it can be typed.

    Args:
        default: the optimizer's own settings of what may be searched, the lr among them.
        axes: values of further keys, such as {"optimizer.momentum": [0.9, 0.99]}.
        objective: of the task.
        decide: cost or metric, as in `scratchopt.compare.trials`.
        budget: number of trials, exactly as many for any optimizer.

    Raises:
        UserError: a default lr, a budget or a `decide` that no grid can be built on.
    """

    default: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    objective: Objective
    decide: str
    budget: int

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
        if self.decide not in DECIDE:
            raise UserError(f"decide={self.decide}: must be one of {', '.join(DECIDE)}")

    def asked(self, results: Results) -> list[Trial]:
        """All trials so far, in order, those without a result included; at most the budget."""
        trials: list[Trial] = []
        ended = True
        for values, share in self._shares():
            mine, all_known = self._line(values, share, results)
            trials += mine
            ended = ended and all_known
        if ended:
            trials += finals(trials, results, self._rank, self.budget - len(trials))
        return trials

    def wanted(self, results: Results) -> list[Trial]:
        """The trials that can be run now; none, if the budget is spent."""
        return [trial for trial in self.asked(results) if trial not in results]

    def chosen(self, results: Results) -> Choice:
        """The best settings, of those trials that have a result."""
        return choice(self.asked(results), results, self._rank)

    def _shares(self) -> list[tuple[dict[str, Any], int]]:
        """The combinations of the axes' values, the default's first, and each one's budget."""
        axes = {key: values for key, values in self.axes.items() if key in self.default}
        combinations = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        own = {key: self.default[key] for key in axes}
        combinations.sort(key=lambda values: values != own)
        each, more = divmod(self.budget, len(combinations))
        shares = [each + (i < more) for i in range(len(combinations))]
        return list(zip(combinations, shares, strict=True))

    def _line(
        self, values: Mapping[str, Any], share: int, results: Results
    ) -> tuple[list[Trial], bool]:
        """The trials of one grid, and whether it has come to its end."""

        def trial(exponent: Fraction) -> Trial:
            lr = self.default[LR]
            lr = float(f"{lr * 10 ** float(exponent):.3g}") if exponent else lr
            return Trial.of({**self.default, **values, LR: lr})

        def order(exponents: list[Fraction]) -> list[Fraction] | None:
            if any(trial(x) not in results for x in exponents):
                return None
            return sorted(exponents, key=lambda x: self._rank([results[trial(x)]]))

        kept = reserve(self.budget) // len(self._shares())
        exponents, ended = walked(share, kept, order)
        return [trial(x) for x in exponents], ended

    def _rank(self, runs: Sequence[Measured]) -> Any:
        return rank(runs, self.objective, self.decide, float(self.default[LR]))
