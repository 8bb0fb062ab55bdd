"""Comparisons made by hand, of known numbers; nothing is trained."""

from dataclasses import replace
from math import exp, inf, log10, nan
from random import Random
from typing import Any

from scratchopt.compare.comparison import Comparison, Contest, Study
from scratchopt.compare.runs import Reading, ScoredRun, find_first_hit
from scratchopt.compare.trials import MARGIN, find_cap
from scratchopt.objective import Objective
from scratchopt.runs.result import Result

ACCURACY = Objective("val/accuracy", "max", 0.97)
SECONDS = 123.456  # of every reading and run: it must be in no file but those of the times
VERSIONS = {"python": "3.12.0", "torch": "2.13.0", "scratchopt": None, "code": "c0de"}


def make_result(
    optimizer: str = "", *, seed: int = 0, status: str = "finished", **others: Any
) -> Result:
    """Makes a result, without asking git for the commit or packages for their versions."""
    return Result("", optimizer, {}, seed, status, **({"versions": {}, "commit": None} | others))


def make_run(
    optimizer: str,
    values: list[float],
    *,
    seed: int = 0,
    lr: float = 0.1,
    every: int = 25,
    cost: float = 1.0,
    status: str = "finished",
    objective: Objective = ACCURACY,
    test: bool = False,
    error: str | None = None,
) -> ScoredRun:
    """Makes a run with a reading after every `every` steps of `cost` gradient evaluations each."""
    readings = tuple(
        Reading(every * (i + 1), cost * every * (i + 1), SECONDS * (i + 1), value)
        for i, value in enumerate(values)
    )
    last = values[-1] if values else nan
    tested = {"test/accuracy": last - 0.002, "test/loss": 1.1 - last} if test else {}
    result = make_result(
        optimizer,
        seed=seed,
        status=status,
        updates=every * len(values),
        cost=cost * every * len(values),
        metrics={"train/loss": 1 - last} | tested,
        training_seconds=SECONDS * len(values),
        memory={"parameters": 4_000_000},
        versions=VERSIONS,
        error=error,
    )
    hit = None if result.failed else find_first_hit(readings, objective)
    address = f"{optimizer}-{lr!r}-{seed}"
    return ScoredRun(result, readings, hit, {"optimizer.lr": lr}, address)


def make_known() -> Comparison:
    """Makes a comparison of two optimizers on one task, with three seeds.

    Tuned, `fast` reaches 0.97 after 50, 75 and 75 gradient evaluations and `slow` after 100, 125
    and never; `slow` has its best lr on the edge, and a trial and a default run that diverged.
    """

    def run(optimizer: str, values: list[float], seed: int, lr: float, **others: object):
        return make_run(optimizer, values, seed=seed, lr=lr, test=True, **others)  # pyright: ignore

    fast = Study(
        "fast",
        {"optimizer.lr": 0.1},
        tuple(
            make_run("fast", [0.9, best], seed=7, lr=lr)
            for lr, best in ((0.01, 0.95), (0.1, 0.98), (1.0, 0.96))
        ),
        {"optimizer.lr": 0.1},
        (),
        (
            run("fast", [0.90, 0.97, 0.98, 0.98, 0.98], 1, 0.1),
            run("fast", [0.90, 0.96, 0.97, 0.98, 0.97], 2, 0.1),
            run("fast", [0.90, 0.96, 0.98, 0.99, 0.99], 3, 0.1),
        ),
        (
            run("fast", [0.90, 0.97, 0.98, 0.98, 0.98], 1, 0.1),
            run("fast", [0.90, 0.96, 0.97, 0.98, 0.97], 2, 0.1),
            run("fast", [0.90, 0.96, 0.98, 0.99, 0.99], 3, 0.1),
        ),
    )
    slow = Study(
        "slow",
        {"optimizer.lr": 0.03},
        (
            make_run("slow", [0.5, 0.6], seed=7, lr=0.03),
            make_run("slow", [0.5, 0.9], seed=7, lr=0.3),
            make_run("slow", [nan], seed=7, lr=3.0, status="diverged"),
        ),
        {"optimizer.lr": 0.3},
        ("optimizer.lr",),
        (
            run("slow", [0.50, 0.60, 0.90, 0.97, 0.97], 1, 0.3),
            run("slow", [0.50, 0.60, 0.90, 0.96, 0.97], 2, 0.3),
            run("slow", [0.50, 0.60, 0.90, 0.95, 0.96], 3, 0.3),
        ),
        (
            run("slow", [0.40, 0.50, 0.60, 0.70, 0.80], 1, 0.03),
            run("slow", [0.40, 0.50, inf], 2, 0.03, status="diverged"),
            run("slow", [], 3, 0.03, status="failed", error="ValueError: a planted one"),
        ),
    )
    space = {"fast": "optimizer.lr: 0.01 0.1 1", "slow": "optimizer.lr: 0.03 0.3 3"}
    contest = Contest("mnist", ACCURACY, (fast, slow))
    return Comparison((contest,), "cost", 3, 7, (1, 2, 3), space, "compare.py task=mnist")


def make_plausible(
    optimizers: tuple[str, ...] = ("sgd", "momentum", "nag", "adam"),
    tasks: tuple[str, ...] = ("mnist", "autoencoder"),
    seeds: int = 10,
    budget: int = 16,
) -> Comparison:
    """Makes a comparison as large as a real one, and as noisy, to see its pictures and pages."""
    space = dict.fromkeys(optimizers, "optimizer.lr: 16 of 1e-4 to 10, 3 a decade")
    contests = tuple(
        _contest(task, 1 + 0.7 * t, optimizers, seeds, budget) for t, task in enumerate(tasks)
    )
    command = f"compare.py task=[{','.join(tasks)}] optimizers=[{','.join(optimizers)}]"
    return Comparison(contests, "cost", budget, 0, tuple(range(1, seeds + 1)), space, command)


def make_stopped() -> Comparison:
    """Makes the same, of runs that ended at the target; trials and default runs were stopped."""
    whole = make_plausible()

    def end(run: ScoredRun) -> ScoredRun:
        if run.to_target is None:
            return run
        readings = run.readings[: run.readings.index(run.to_target) + 1]
        result = replace(run.result, cost=run.to_target.cost, updates=run.to_target.steps)
        return replace(run, result=result, readings=readings)

    def stop(study: Study) -> Study:
        trials, tuned, untuned = (
            tuple(map(end, runs)) for runs in (study.trials, study.tuned, study.untuned)
        )
        at = find_cap(trials, MARGIN)
        above = MARGIN * max(run.cost_to_target for run in tuned)
        return replace(
            study,
            trials=tuple(run.truncate(at) for run in trials),
            chosen=min(trials, key=lambda run: run.cost_to_target).settings,
            tuned=tuned,
            untuned=tuple(run.truncate(above) for run in untuned),
        )

    contests = tuple(replace(c, studies=tuple(map(stop, c.studies))) for c in whole.contests)
    return replace(whole, contests=contests, until="target")


def _contest(task: str, hard: float, names: tuple[str, ...], seeds: int, budget: int) -> Contest:
    maximal = hard == 1
    objective = ACCURACY if maximal else Objective("val/loss", "min", 0.03)
    studies = []
    for i, name in enumerate(names):
        best, cost = 0.4 / 4**i, 6.0 if name == "newton" else 1.0
        speed = hard / (1 + 0.35 * i)

        def values(lr: float, seed: int, best: float = best, speed: float = speed) -> list[float]:
            off = log10(lr / best)
            pace = speed * (1 + 2 * off * off) * (1 + 0.15 * _noise(lr, seed, speed))
            level = 0.982 - 0.01 * off * off + 0.004 * _noise(seed, lr, speed)
            readings = [
                level - 0.5 * exp(-step / (5 * pace)) + 0.001 * _noise(step, seed, lr)
                for step in range(1, 41)
            ]
            return readings if maximal else [1 - value for value in readings]

        def run(
            lr: float,
            seed: int,
            name: str = name,
            cost: float = cost,
            best: float = best,
            values=values,  # pyright: ignore[reportMissingParameterType]
            test: bool = True,
        ) -> ScoredRun:
            off = log10(lr / best)
            if off > 0.9:
                return make_run(
                    name, [nan], seed=seed, lr=lr, status="diverged", cost=cost, objective=objective
                )
            return make_run(
                name, values(lr, seed), seed=seed, lr=lr, test=test, cost=cost, objective=objective
            )

        lrs = [float(f"{best * 10 ** ((j - budget // 2) / 4 - 0.5):.3g}") for j in range(budget)]
        trials = tuple(run(lr, 0, test=False) for lr in lrs)
        sound = [trial for trial in trials if not trial.failed]
        chosen = max(sound, key=lambda trial: objective.goodness(trial.final(objective))).settings
        default = {"optimizer.lr": lrs[budget // 2]}
        many = range(1, seeds + 1)
        tuned = tuple(run(chosen["optimizer.lr"], seed) for seed in many)
        untuned = tuple(run(default["optimizer.lr"], seed) for seed in many)
        studies.append(Study(name, default, trials, chosen, (), tuned, untuned))
    return Contest(task, objective, tuple(studies))


def _noise(*of: float) -> float:
    """A number in [−1, 1], the same in every process."""
    return Random(repr(of)).uniform(-1, 1)
