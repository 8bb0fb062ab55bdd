"""The plan of a comparison: which runs it wants next, and what they add up to.

It is a function of the runs that are complete, and of nothing else. So whoever was killed asks it
again, and does what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scratchopt.compare.request import Request
from scratchopt.compare.runs import Comparison, Contest, Objective, ScoredRun, Study
from scratchopt.compare.search import GridSearch, Search
from scratchopt.compare.trials import Trial
from scratchopt.config.fields import UserError

# Gives what came of a run: its configuration, choices, objective and searched settings.
FindRun = Callable[["RunSpec", Objective], "ScoredRun | None"]


@dataclass(frozen=True, eq=False)
class RunSpec:
    """A run that a comparison needs.

    Args:
        config: as `scratchopt.config.schema.validate` returns it.
        choices: names of the task and of the optimizer.
        settings: what was searched, by key.
    """

    config: dict[str, Any]
    choices: Mapping[str, str]
    settings: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Entrant:
    """An optimizer on a task.

    Args:
        request: what was asked for.
        task: name of the choice in conf/task.
        optimizer: name of the choice in conf/optimizer.
        objective: what is asked of the task.
    """

    request: Request
    task: str
    optimizer: str
    objective: Objective

    @cached_property
    def default(self) -> dict[str, Any]:
        """The optimizer's own settings of what is searched."""
        return self.request.default(self.task, self.optimizer)

    @cached_property
    def search(self) -> Search:
        """Of the settings."""
        keys = self.request.keys
        axes = {f"optimizer.{key}": values for key, values in keys["tune"].items()}
        if keys["search"] == "optuna":
            from scratchopt.compare.optuna_search import TPESearch

            return TPESearch(
                self.default, list(axes), self.objective, keys["decide"], keys["budget"]
            )
        return GridSearch(self.default, axes, self.objective, keys["decide"], keys["budget"])

    @cached_property
    def _made(self) -> dict[Any, RunSpec]:
        return {}

    @cached_property
    def _results(self) -> dict[Trial, ScoredRun]:
        """Of the search, from one look to the next: it only grows."""
        return {}

    def _wanted(self, settings: Mapping[str, Any], seed: int, test: bool) -> RunSpec:
        key = Trial.from_settings(settings), seed, test
        if key not in self._made:
            config = self.request.config(self.task, self.optimizer, dict(settings), seed, test)
            choices = {"task": self.task, "optimizer": self.optimizer}
            self._made[key] = RunSpec(config, choices, dict(settings))
        return self._made[key]

    def _trial(self, trial: Trial) -> RunSpec:
        return self._wanted(trial.settings, self.request.keys["seed"] + trial.repeat, False)

    def _judged(self, settings: Mapping[str, Any]) -> list[RunSpec]:
        return [self._wanted(settings, seed, True) for seed in self.request.seeds]

    def look(self, known: FindRun) -> tuple[list[RunSpec], Study]:
        """The runs that can be done now, and what is known so far."""
        results = self._results
        while found := {
            trial: run
            for trial in self.search.wanted(results)
            if (run := known(self._trial(trial), self.objective)) is not None
        }:
            results.update(found)
        missing = [self._trial(trial) for trial in self.search.wanted(results)]
        choice = self.search.chosen(results) if results and not missing else None
        tuned = self._judged(choice.settings) if choice and choice.settings else []
        untuned = self._judged(self.default)
        judged = {id(w): known(w, self.objective) for w in [*untuned, *tuned]}
        missing += [w for w in dict.fromkeys([*tuned, *untuned]) if judged[id(w)] is None]
        trials = tuple(results[t] for t in self.search.asked(results) if t in results)
        return missing, Study(
            optimizer=self.optimizer,
            default=self.default,
            trials=trials,
            chosen=choice.settings if choice else None,
            edges=choice.edges if choice else (),
            tuned=tuple(run for w in tuned if (run := judged[id(w)])),
            untuned=tuple(run for w in untuned if (run := judged[id(w)])),
        )


class Schedule:
    """Of all that was asked for.

    Args:
        request: what that is.

    Raises:
        UserError: a task or an optimizer that cannot be compared.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.parts = {
            task: [Entrant(request, task, o, request.objective(task)) for o in request.optimizers]
            for task in request.tasks
        }
        every = [part for parts in self.parts.values() for part in parts]
        for part in every:
            part.search  # noqa: B018  (refuses what it cannot search)
        for key in request.keys["tune"]:
            if key == "lr" or not any(f"optimizer.{key}" in part.default for part in every):
                raise UserError(f"tune={key}: none of the optimizers has it beside its lr")

    @property
    def most(self) -> int:
        """Runs that it may come to."""
        keys = self.request.keys
        parts = len(self.request.tasks) * len(self.request.optimizers)
        return parts * (keys["budget"] + 2 * keys["seeds"])

    def look(self, known: FindRun) -> tuple[list[RunSpec], Comparison]:
        """The runs that can be done now, none if it is complete; and what is known so far."""
        missing: list[RunSpec] = []
        contests: list[Contest] = []
        for task, parts in self.parts.items():
            looks = [part.look(known) for part in parts]
            missing += [wanted for wants, _ in looks for wanted in wants]
            contests.append(Contest(task, parts[0].objective, tuple(study for _, study in looks)))
        keys = self.request.keys
        return missing, Comparison(
            contests=tuple(contests),
            decide=keys["decide"],
            budget=keys["budget"],
            tuning_seed=keys["seed"],
            seeds=self.request.seeds,
            space=self._spaces,
            command=self.request.command,
        )

    @cached_property
    def _spaces(self) -> dict[str, str]:
        return {optimizer: self._space(optimizer) for optimizer in self.request.optimizers}

    def _begin(self, entrant: Entrant) -> str:
        """The lr that a search begins at, and whose it is."""
        whose = "its own default"
        if self.request.keys["start"] == "task":
            suited = self.request.suits(entrant.task, entrant.optimizer)
            whose = "the task's" if suited else "its own default, as the task has none"
            whose += f" on {entrant.task}" if len(self.parts) > 1 else ""
        return f"{entrant.default['optimizer.lr']:g} ({whose})"

    def _space(self, optimizer: str) -> str:
        mine = [p for parts in self.parts.values() for p in parts if p.optimizer == optimizer]
        begins = sorted({self._begin(entrant) for entrant in mine})
        drawn = self.request.keys["search"] == "optuna"
        how = "lr drawn from 0.01 to 100 times" if drawn else "lr around"
        words = [f"{how} {' and '.join(begins)}"]
        known = {k for parts in self.parts.values() for p in parts for k in p.default}
        for key, values in self.request.keys["tune"].items():
            if f"optimizer.{key}" in known:
                words.append(f"{key} in {values}" if values else f"{key} drawn")
        return "; ".join(words)
