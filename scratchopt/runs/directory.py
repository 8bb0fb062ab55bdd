"""Reading the directories of runs: what each run was, and what has come of it."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from scratchopt.config.fields import UserError
from scratchopt.config.paths import to_paste
from scratchopt.config.schema import validate
from scratchopt.runs.control_characters import escape_controls
from scratchopt.runs.html import as_html_rows, embed_pictures
from scratchopt.runs.result import Result, hyperparameters

if TYPE_CHECKING:  # half a second
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CONFIG = Path(".hydra", "config.yaml")


@dataclass(frozen=True)
class Run:
    """A run, as its directory has it; what has not ended yet, or was killed, has no result.

    Args:
        directory: of the run.
        task: name of the choice in conf/task.
        optimizer: name of the choice in conf/optimizer.
        config: resolved, as `scratchopt.config.schema.validate` returns it.
        result: what its `result.json` says, if there is one.
        trusted: true if whatever its configuration names may be made, functions too.
    """

    directory: Path
    task: str
    optimizer: str
    config: dict[str, Any]
    result: Result | None
    trusted: bool = False

    def __repr__(self) -> str:
        """The run in a line: what it was, what came of it, where it lies."""
        came = "not ended"
        if self.result:
            metrics = self.result.metrics
            tags = [tag for tag in sorted(metrics) if not tag.startswith("train/")] or [
                "train/loss"
            ]
            found = [f"{tag} {metrics[tag]:.6g}" for tag in tags if tag in metrics]
            came = ", ".join([self.result.status, f"{self.result.updates:,} updates", *found])
        return f"{self.task}, {self.optimizer}: {came}; {to_paste(self.directory)}"

    def _repr_html_(self) -> str:
        """The table of its result and its figures, for a notebook."""
        result = self.result or Result(self.task, self.optimizer, {}, 0, "not ended")
        return f"{as_html_rows(result.rows(self.directory))}{embed_pictures(self.figures)}"

    @property
    def figures(self) -> list[Path]:
        """The PNGs of its figures."""
        return sorted(self.directory.glob("figures/*.png"))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The values that decide the run, by the key that overrides each: `optimizer.lr`, …"""
        chosen = {"task": self.task, "optimizer": self.optimizer, "schedule": "constant"}
        return chosen | hyperparameters(self.config)

    @property
    def retrain(self) -> str:
        """The words that tell how to train the run again; a store has to lose it before."""
        if self.config["store"] is None:
            return "train this run again"
        return f"remove {shlex.quote(str(self.directory))} and train this run again"

    @cached_property
    def history(self) -> dict[str, list[tuple[int, float]]]:
        """All scalars that were logged, by tag, as (step, value) pairs in order of the steps.

        If a step was logged twice, since a resumed run did it again, the later value counts.
        Values are float32, as TensorBoard's events have them.
        """
        return {
            tag: sorted({event.step: event.value for event in self.events.Scalars(tag)}.items())
            for tag in self.events.Tags()["scalars"]
        }

    @cached_property
    def events(self) -> EventAccumulator:
        """TensorBoard's reading of the log, with all its scalars."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of resumed runs
        events = EventAccumulator(str(self.directory), size_guidance={"scalars": 0})
        return events.Reload()


def find_runs(places: Iterable[str | Path], trusted: bool = False) -> list[Run]:
    """Finds the runs in some directories and beneath them, each once, by their paths' order.

    Raises:
        UserError: a directory that is not there or has no runs, or a run that cannot be read.
    """
    found: dict[Path, Run] = {}
    for place in map(Path, places):
        if not place.is_dir():
            raise UserError(f"{place}: no such directory")
        directories = sorted(path.parents[1] for path in place.glob(f"**/{CONFIG}"))
        if not directories:
            raise UserError(f"{place}: no run in it; give a directory that train.py has written")
        found |= {directory.resolve(): read_run(directory, trusted) for directory in directories}
    return list(found.values())


def read_run(directory: Path, trusted: bool = False) -> Run:
    """Reads the run in a directory.

    Raises:
        UserError: a file that cannot be read.
    """
    choices = _load(directory / ".hydra" / "hydra.yaml", _choices)
    config = _load(directory / CONFIG, _config)
    written = directory / "result.json"
    result = _load(written, Result.read) if written.exists() else None
    return Run(directory, choices["task"], choices["optimizer"], config, result, trusted)


def has_one_value(key: str, runs: Sequence[Run]) -> bool:
    """Tells whether all runs that have the key have the same value."""
    return len({json.dumps(run.settings[key]) for run in runs if key in run.settings}) == 1


def label_runs(runs: Sequence[Run], without: Collection[str] = ()) -> list[str]:
    """Names some runs by what differs between them, such as "nag, lr=0.1".

    Where keys differ in the same way, as task.seed and seed do, the last is named. Runs that
    differ in nothing, or only in the keys of `without`, are numbered.
    """
    keys = dict.fromkeys(key for run in runs for key in run.settings if key not in without)
    columns = {key: tuple(json.dumps(run.settings.get(key)) for run in runs) for key in keys}
    last = {column: key for key, column in columns.items() if not has_one_value(key, runs)}
    differing = [key for key in keys if key in last.values()]
    names = [
        ", ".join(_format(key, run.settings[key]) for key in differing if key in run.settings)
        or run.optimizer
        for run in runs
    ]
    return [
        f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _format(key: str, value: Any) -> str:
    if key in ("task", "optimizer", "schedule"):
        return str(value)
    number = f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')
    return f"{key.rpartition('.')[2]}={number}"


def _choices(path: Path) -> Any:
    choices = OmegaConf.load(path).hydra.runtime.choices
    return {name: escape_controls(str(choices[name])) for name in ("task", "optimizer")}


def _config(path: Path) -> dict[str, Any]:
    return escape_controls(validate(OmegaConf.load(path)))  # pyright: ignore[reportArgumentType]


def _load(path: Path, load: Callable[[Path], Any]) -> Any:
    readable = (OSError, YAMLError, OmegaConfBaseException, AttributeError, ValueError, UserError)
    try:
        return load(path)
    except readable as error:
        reason = escape_controls(str(error).partition("\n")[0])
        raise UserError(
            f"{path} cannot be read: {reason}; put a copy back, or leave this run out"
        ) from error
