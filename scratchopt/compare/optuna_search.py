"""A search by Optuna's TPE, for spaces that are too large for a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Any

from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.trials import (
    LR,
    Choice,
    Results,
    Trial,
    choose_settings,
    count_reserved,
    find_cap,
    judge,
    make_sort_key,
    race_finalists,
    truncate_trials,
)
from scratchopt.config.fields import UserError
from scratchopt.objective import Objective

FURTHEST = 1e2  # times the default lr, and as much below it
CLOSEST, LOOSEST = 1e-3, 1.0  # of 1 − μ and 1 − β
MISSED, FAILED = 1e6, 1e9  # losses of a run that did not reach the target, or came to nothing


@dataclass(frozen=True)
class TPESearch:
    """A search by the tree-structured Parzen estimator (Bergstra et al., 2011), as Optuna has it.

    The first trial has the default settings. lr is drawn from default·10⁻² to default·10², evenly
    on a logarithmic scale; a fraction that is kept, as momentum, alpha or each of betas, by its
    distance to 1, evenly on such a scale from 0.001 to 1; any other positive number as the lr. All
    have three significant digits. A third of the trials is drawn by chance before the estimator
    takes over, and the last quarter is a race of the best settings, as in `GridSearch`. A trial
    that is stopped at its cap, after `margin` times the least cost so far, is told as that cost.
    What is drawn depends on the results alone: the sampler has a fixed seed, and is fed anew each
    time.

    Args:
        default: the optimizer's own settings of what is searched, the lr among them.
        keys: further ones to be searched; one that the optimizer does not have is left out.
        objective: of the task.
        decide: cost or metric, as in `scratchopt.compare.trials`.
        budget: number of trials.
        margin: times the least cost, after which a trial is stopped, > 1; ∞, if none is.

    Raises:
        UserError: Optuna is not installed, or a default that nothing can be drawn around.
    """

    default: Mapping[str, Any]
    keys: Sequence[str]
    objective: Objective
    decide: str
    budget: int
    margin: float = inf

    def __post_init__(self) -> None:
        try:
            import optuna  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            remedy = 'pip install "scratchopt[optuna]"'
            raise UserError(f"search=optuna: Optuna is not installed; {remedy}") from error
        for key in self._searched:
            value = self.default[key]
            if not _is_fraction(key) and not (isinstance(value, (int, float)) and value > 0):
                raise UserError(f"{key}={value}: nothing can be drawn around it; a number > 0")

    def list_trials(self, results: Results) -> dict[Trial, float]:
        """Lists all trials so far, in order, and the cap of each; at most the budget."""
        sampler, caps = _Sampler(self), {}
        known: list[ScoredRun] = []
        for _ in range(self.budget - count_reserved(self.budget)):
            drawn = Trial.from_settings(sampler.ask())
            trial = Trial(drawn.items, sum(t.items == drawn.items for t in caps))
            caps[trial] = find_cap(known, self.margin)
            if trial not in results:
                return caps
            known.append(results[trial].truncate(caps[trial]))
            sampler.tell(self._loss(known[-1]))
        caps = dict.fromkeys(caps, find_cap(known, self.margin))
        runs, left = truncate_trials(caps, results).values(), self.budget - len(caps)
        return caps | dict.fromkeys(race_finalists(runs, results, self._sort_key, left), inf)

    def next_trials(self, results: Results) -> dict[Trial, float]:
        """Lists the one trial that can be run now, as each depends on those before; and its cap."""
        return {t: cap for t, cap in self.list_trials(results).items() if t not in results}

    def choose(self, results: Results) -> Choice:
        """Chooses the best settings, of those trials that have a result."""
        known = truncate_trials(self.list_trials(results), results)
        return choose_settings(known.values(), self._sort_key)

    @property
    def _searched(self) -> list[str]:
        return [LR, *(key for key in self.keys if key in self.default and key != LR)]

    def _sort_key(self, runs: Sequence[ScoredRun]) -> Any:
        return make_sort_key(runs, self.objective, self.decide, float(self.default[LR]))

    def _loss(self, run: ScoredRun) -> float:
        if run.failed:
            return FAILED
        found = judge(run, self.objective, self.decide)
        if self.decide == "metric":
            return min(found, MISSED)
        if run.stopped:
            return log(max(run.more_than, 1.0))
        if run.to_target is None:
            return MISSED + min(MISSED, -self.objective.goodness(run.best(self.objective)))
        return log(max(found, 1.0))


class _Sampler:
    def __init__(self, search: TPESearch) -> None:
        import optuna  # pyright: ignore[reportMissingImports]

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        startup = max(1, search.budget // 3)
        sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=startup)
        self.search, self.study = search, optuna.create_study(sampler=sampler)
        self.study.enqueue_trial(self._draws_of(search.default))
        self.trial: Any = None
        self.count = 0

    def ask(self) -> dict[str, Any]:
        """Asks for settings to be tried: at first the default ones."""
        self.trial, first = self.study.ask(), self.count == 0
        self.count += 1
        drawn = {key: self._draw(key) for key in self.search._searched}
        return dict(self.search.default) if first else {**self.search.default, **drawn}

    def tell(self, loss: float) -> None:
        """Tells what they came to."""
        self.study.tell(self.trial, loss)

    def _draws_of(self, settings: Mapping[str, Any]) -> dict[str, float]:
        """Gives what would have been drawn for some settings, by Optuna's names."""
        found = {}
        for key in self.search._searched:
            value = settings[key]
            if isinstance(value, (list, tuple)):
                found |= {f"{key}[{i}]": _complement(kept) for i, kept in enumerate(value)}
            else:
                found[key] = _complement(value) if _is_fraction(key) else value
        return found

    def _draw(self, key: str) -> Any:
        default = self.search.default[key]
        if isinstance(default, (list, tuple)):
            return [self._draw_fraction(f"{key}[{i}]") for i in range(len(default))]
        if _is_fraction(key):
            return self._draw_fraction(key)
        low, high = default / FURTHEST, default * FURTHEST
        return float(f"{self.trial.suggest_float(key, low, high, log=True):.3g}")

    def _draw_fraction(self, name: str) -> float:
        left = float(f"{self.trial.suggest_float(name, CLOSEST, LOOSEST, log=True):.3g}")
        return round(1 - left, 6)


def _complement(kept: float) -> float:
    """1 − μ, within what is drawn from."""
    return min(LOOSEST, max(CLOSEST, round(1 - kept, 6)))


def _is_fraction(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in ("momentum", "betas", "alpha")
