"""The schedule of a comparison: which runs it needs next, and what is known so far.

It is a function of the runs that are complete, and of nothing else. So whoever was killed asks it
again, and does what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from math import inf
from typing import Any

from scratchopt.compare.comparison import Comparison, Contest, Study
from scratchopt.compare.request import Request
from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.search import GridSearch, Search
from scratchopt.compare.trials import LR, MARGIN, Choice, Trial, truncate_trials
from scratchopt.config.fields import UserError, as_typed
from scratchopt.config.schedules import name_schedule
from scratchopt.objective import Objective

# Finds a run, held against an objective, that has come to its end or to a cost beyond the given
# one; None, if there is none.
FindRun = Callable[["RunSpec", Objective, float], "ScoredRun | None"]


@dataclass(frozen=True, eq=False)
class RunSpec:
    """The specification of a run that a comparison needs.

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
    """An optimizer on a task, which is tuned there and then judged.

    Args:
        request: for the comparison.
        task: name of the choice in conf/task.
        optimizer: name of the choice in conf/optimizer.
        objective: of the task.
    """

    request: Request
    task: str
    optimizer: str
    objective: Objective

    @cached_property
    def default(self) -> dict[str, Any]:
        """The optimizer's own settings of what is searched."""
        return self.request.default_settings(self.task, self.optimizer)

    @cached_property
    def search(self) -> Search:
        """The search for the best settings."""
        keys = self.request.keys
        axes = {f"optimizer.{key}": values for key, values in keys["tune"].items()}
        how = keys["decide"], keys["budget"], MARGIN if keys["until"] == "target" else inf
        if keys["search"] == "optuna":
            from scratchopt.compare.optuna_search import TPESearch

            return TPESearch(self.default, list(axes), self.objective, *how)
        return GridSearch(self.default, axes, self.objective, *how)

    @cached_property
    def _specs(self) -> dict[Any, RunSpec]:
        return {}

    @cached_property
    def _results(self) -> dict[Trial, ScoredRun]:
        """The results of the trials, which are kept from one plan to the next: they only grow."""
        return {}

    def _specify(self, settings: Mapping[str, Any], seed: int, test: bool) -> RunSpec:
        key = Trial.from_settings(settings), seed, test
        if key not in self._specs:
            config = self.request.compose_run(self.task, self.optimizer, dict(settings), seed, test)
            choices = {"task": self.task, "optimizer": self.optimizer}
            self._specs[key] = RunSpec(config, choices, dict(settings))
        return self._specs[key]

    def _specify_trial(self, trial: Trial) -> RunSpec:
        return self._specify(trial.settings, self.request.keys["seed"] + trial.repeat, False)

    def plan(self, find_run: FindRun) -> tuple[dict[RunSpec, float], Study]:
        """Plans the runs that can be done now, and gathers those that are complete.

        Returns:
            The missing runs, each with the cost at which it may be stopped (∞, never); and what
            is known.
        """
        results = self._results
        while found := {
            trial: run
            for trial, cap in self.search.next_trials(results).items()
            if (run := find_run(self._specify_trial(trial), self.objective, cap)) is not None
        }:
            results.update(found)
        trials = self.search.next_trials(results)
        missing = {self._specify_trial(trial): cap for trial, cap in trials.items()}
        choice = self.search.choose(results) if results and not missing else None
        chosen = choice.settings if choice else None
        tuned = self._find_judged(chosen, inf, find_run) if chosen else {}
        cap = self._cap_defaults(choice, list(tuned.values()))
        untuned = {} if cap is None else self._find_judged(self.default, cap, find_run)
        missing |= {spec: inf for spec, run in tuned.items() if run is None}
        missing |= {spec: cap for spec, run in untuned.items() if run is None and cap}
        known = truncate_trials(self.search.list_trials(results), results)
        return missing, Study(
            optimizer=self.optimizer,
            default=self.default,
            trials=tuple(known.values()),
            chosen=chosen,
            edges=choice.edges if choice else (),
            tuned=tuple(run for run in tuned.values() if run),
            untuned=tuple(run.truncate(cap or inf) for run in untuned.values() if run),
        )

    def _find_judged(
        self, settings: Mapping[str, Any], cap: float, find_run: FindRun
    ) -> dict[RunSpec, ScoredRun | None]:
        """Finds the runs by which some settings are judged, None for each that is missing."""
        specs = [self._specify(settings, seed, True) for seed in self.request.seeds]
        return {spec: find_run(spec, self.objective, cap) for spec in specs}

    def _cap_defaults(
        self, choice: Choice | None, tuned: Sequence[ScoredRun | None]
    ) -> float | None:
        """The cost after which a run at the default settings is stopped, or None if not known yet.

        Where all tuned runs reached the target, that is the greatest of their costs: what it has
        cost more says only by how much it is worse than each of them.
        """
        if self.request.keys["until"] == "end":
            return inf
        if choice is None or None in tuned:
            return None
        costs = [run.cost_to_target for run in tuned if run]
        return inf if choice.settings in (None, self.default) else max(costs)


def _describe_schedule(entrant: Entrant) -> str:
    """Describes the schedule of an optimizer's runs; empty for the constant one."""
    config = entrant.request.compose_run(entrant.task, entrant.optimizer, {}, 0, False)
    node = config["schedule"] or {}
    keys = [f"{k}={as_typed(v)}" for k, v in node.items() if k[0] != "_" and v is not None]
    return " ".join([f"schedule={name_schedule(node)}", *keys]) if node else ""


class Schedule:
    """The schedule of all runs that were asked for.

    Args:
        request: that asks for them.

    Raises:
        UserError: a task or an optimizer that cannot be compared.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.entrants = {
            task: [Entrant(request, task, o, request.objective(task)) for o in request.optimizers]
            for task in request.tasks
        }
        everyone = [entrant for entrants in self.entrants.values() for entrant in entrants]
        for entrant in everyone:
            entrant.search  # noqa: B018  (refuses what it cannot search)
        for key in request.keys["tune"]:
            has_key = any(f"optimizer.{key}" in entrant.default for entrant in everyone)
            if key == "lr" or not has_key:
                raise UserError(f"tune={key}: none of the optimizers has it beside its lr")

    @property
    def max_runs(self) -> int:
        """The most runs that it may come to."""
        keys = self.request.keys
        entrants = len(self.request.tasks) * len(self.request.optimizers)
        return entrants * (keys["budget"] + 2 * keys["seeds"])

    def plan(self, find_run: FindRun) -> tuple[dict[RunSpec, float], Comparison]:
        """Plans the runs that can be done now, none if all are complete; and gathers the others.

        Returns:
            The missing runs in the order in which to begin them, the optimizers in turn and the
            trials first, each with the cost at which it may be stopped (∞, never); and what is
            known.
        """
        missing: list[tuple[RunSpec, float]] = []
        contests: list[Contest] = []
        for task, entrants in self.entrants.items():
            plans = [entrant.plan(find_run) for entrant in entrants]
            turns = zip_longest(*(specs.items() for specs, _ in plans))
            missing += [item for turn in turns for item in turn if item]
            studies = tuple(study for _, study in plans)
            contests.append(Contest(task, entrants[0].objective, studies))
        keys = self.request.keys
        missing.sort(key=lambda item: item[0].config["test"])  # a trial is not tested
        return dict(missing), Comparison(
            contests=tuple(contests),
            decide=keys["decide"],
            budget=keys["budget"],
            tuning_seed=keys["seed"],
            seeds=self.request.seeds,
            space=self._spaces,
            until=keys["until"],
            command=self.request.command,
        )

    @cached_property
    def _spaces(self) -> dict[str, str]:
        return {optimizer: self._describe_space(optimizer) for optimizer in self.request.optimizers}

    def _describe_start(self, entrant: Entrant) -> str:
        """Says at which lr a search begins, and whose it is."""
        whose = "its own default"
        if self.request.keys["start"] == "task":
            has_lr = self.request.task_has_lr(entrant.task, entrant.optimizer)
            whose = "the task's" if has_lr else "its own default, as the task has none"
            whose += f" on {entrant.task}" if len(self.entrants) > 1 else ""
        return f"{entrant.default[LR]:g} ({whose})"

    def _describe_space(self, optimizer: str) -> str:
        everyone = [entrant for entrants in self.entrants.values() for entrant in entrants]
        mine = [entrant for entrant in everyone if entrant.optimizer == optimizer]
        starts = sorted({self._describe_start(entrant) for entrant in mine})
        drawn = self.request.keys["search"] == "optuna"
        how = "lr drawn from 0.01 to 100 times" if drawn else "lr around"
        words = [f"{how} {' and '.join(starts)}"]
        known = {key for entrant in everyone for key in entrant.default}
        for key, values in self.request.keys["tune"].items():
            if f"optimizer.{key}" in known:
                words.append(f"{key} in {values}" if values else f"{key} drawn")
        scheduled = sorted({text for entrant in mine if (text := _describe_schedule(entrant))})
        return "; ".join([*words, *scheduled])
