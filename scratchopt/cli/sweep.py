"""A sweep of train.py: which of its runs ended, and how, and what a sweeper is told of each."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from scratchopt.cli.job import find_run
from scratchopt.cli.sweep_pictures import choose_output
from scratchopt.config.composition import SweepConfigLoader
from scratchopt.config.fields import UserError
from scratchopt.runs.directory import Run
from scratchopt.runs.result import Result
from scratchopt.runs.sweep_names import BASIC_SWEEPER

DIRECTIONS = {"min": "minimize", "max": "maximize"}
NAMED = 10  # failed runs that a line has room for


@dataclass
class Tally:
    """The runs of a sweep that have ended.

    Args:
        ended: how many.
        failed: the overrides of those that ended with an error.
        runs: those that have a result.
        output: the folder for the sweep's pictures; None for a single run, or if none are wanted.
    """

    ended: int = 0
    failed: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    output: Path | None = None

    def describe_failures(self) -> str:
        """Says how many runs failed, and which."""
        more = len(self.failed) - NAMED
        which = "; ".join(self.failed[:NAMED]) + (f"; and {more} more" if more > 0 else "")
        return f"{len(self.failed)} of {self.ended} runs failed: {which}"


class TallyingLauncher(Launcher):
    """Launches jobs by another launcher, and counts those that fail.

    Hydra's own sweeper would tell of the first failed job alone, and after all others. Each job
    has told of its error when it failed, so that sweeper is not troubled with it.

    Args:
        launcher: that launches.
        tally: where to count.
        tracebacks: true if the user wants Hydra's tracebacks.
        searching: true of a sweeper that goes by what came of the runs.
    """

    def __init__(self, launcher: Launcher, tally: Tally, tracebacks: bool, searching: bool) -> None:
        self.launcher, self.tally = launcher, tally
        self.tracebacks, self.searching = tracebacks, searching

    def setup(self, **_: Any) -> None:
        """Does nothing: the other launcher is set up."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Launches the jobs, and counts.

        Raises:
            UserError: no job.
        """
        if not job_overrides:
            raise UserError("-m: the sweep has no run; give each of what it varies some value")
        if not self.tracebacks:  # in the processes that may be started now
            os.environ.pop("HYDRA_FULL_ERROR", None)
        try:
            done = self.launcher.launch(job_overrides, initial_job_idx)
        finally:
            os.environ["HYDRA_FULL_ERROR"] = "1"
        varied = _find_varied(job_overrides)
        for job, overrides in zip(done, job_overrides, strict=True):
            self.tally.ended += 1
            if run := find_run(job):
                self.tally.runs.append(run)
            if job.status == JobStatus.FAILED:
                self.tally.failed.append(" ".join(o for o in overrides if o in varied))
                if not self.searching:
                    job.status, job.return_value = JobStatus.COMPLETED, None
        return done


def _find_varied(jobs: Sequence[Sequence[str]]) -> set[str]:
    """Finds the overrides that not all of some jobs have; all of them, for a single job."""
    every = set[str]().union(*jobs)
    return every - set(jobs[0]).intersection(*jobs[1:]) if len(jobs) > 1 else every


@contextmanager
def tally_runs(tally: Tally, tracebacks: bool) -> Iterator[None]:
    """Has the runs of a sweep counted, whatever launches them.

    Args:
        tally: where to count.
        tracebacks: true if the user wants Hydra's tracebacks.

    Raises:
        UserError: before the first run, a sweeper that searches for what nobody has named.
    """
    plugins = Plugins.instance()
    instantiate = plugins.instantiate_launcher

    def instantiate_launcher(config: DictConfig, **others: Any) -> Launcher:
        searching = config.hydra.sweeper._target_ != BASIC_SWEEPER
        if searching:
            _check_search(config)
        if config.get("figures") is not False:
            tally.output = choose_output(config)
        context = others["hydra_context"]  # the sweeper's too
        context.config_loader = SweepConfigLoader(context.config_loader.get_search_path())
        launcher = instantiate(config=config, **others)
        return TallyingLauncher(launcher, tally, tracebacks, searching)

    plugins.instantiate_launcher = instantiate_launcher  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        plugins.instantiate_launcher = instantiate


def _check_search(config: DictConfig) -> None:
    """Refuses a search whose task names no metric, or the direction of another.

    Raises:
        UserError: with the remedy.
    """
    asked = config.get("comparison") or {}
    metric, mode = asked.get("metric"), asked.get("mode")
    if metric is None or mode not in DIRECTIONS:
        raise UserError(
            "hydra/sweeper: nothing says what it is to search for; give the task's configuration "
            "comparison: {metric: train/loss, mode: min}, or take compare.py with search=optuna"
        )
    given = OmegaConf.select(config, "hydra.sweeper.direction")
    if given is None:
        return
    listed = given if OmegaConf.is_list(given) else [given]
    names = [getattr(direction, "name", direction) for direction in listed]
    if names != [DIRECTIONS[mode]]:
        raise UserError(
            f"hydra.sweeper.direction={','.join(map(str, names))}: {metric} is the better the "
            f"{'greater' if mode == 'max' else 'less'} it is; give "
            f"hydra.sweeper.direction={DIRECTIONS[mode]}"
        )


def find_objective(config: dict[str, Any], result: Result) -> float | None:
    """Finds what a sweeper that searches is told of a run: its last `comparison.metric`.

    Of a run that came to nothing it is the worst there is, ∞ or −∞; None, where the configuration
    names no metric.

    Raises:
        UserError: a search for a metric that the run does not have.
    """
    asked = config["comparison"] or {}
    metric, worst = asked.get("metric"), -inf if asked.get("mode") == "max" else inf
    if metric is None or result.failed:
        return worst if metric else None
    value = result.metrics.get(metric)
    if value is None and HydraConfig.get().sweeper["_target_"] != BASIC_SWEEPER:
        raise UserError(
            f"comparison.metric={metric}: the run has none; give one of "
            f"{', '.join(sorted(result.metrics))}"
        )
    return value if value is None or isfinite(value) else worst
