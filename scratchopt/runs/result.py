"""The result of a run: `result.json`, and a table of it for the console."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from math import isfinite, nan
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from scratchopt.atomic_write import atomic_write
from scratchopt.config.checkout import CHECKOUT
from scratchopt.config.paths import to_paste
from scratchopt.config.schedules import name_schedule
from scratchopt.runs.control_characters import escape_controls
from scratchopt.runs.provenance import versions

# Of the Trainer's arguments, those that decide what a step is.
STEP = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
# Keys that every version has written, and what others mean where an older version has not, if that
# is not the field's default.
ALWAYS = {*("task", "optimizer", "hyperparameters", "seed"), *("status", "updates", "cost")}
ALWAYS |= {"metrics", "seconds"}
LATER = {"commit": None, "complete": True, "versions": {}}


@cache
def _commit() -> str | None:
    """The commit of this checkout, with `-dirty` where tracked files differ from it.

    It is asked for once a process, whose code is that of its first run.
    """
    if not (CHECKOUT / ".git").exists():  # an installed package, perhaps in another repository
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        git = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    except FileNotFoundError:  # no git on this machine
        return None
    return git.stdout.strip() or None


@dataclass
class Result:
    """All that is known of a run, and at last what came of it: the keys of `result.json`.

    Args:
        task: name of the choice in conf/task.
        optimizer: name of the choice in conf/optimizer.
        hyperparameters: by the key that overrides them, such as `optimizer.lr`.
        seed: of the run.
        status: finished, converged, diverged, interrupted or failed; or stopped, at a cost beyond
            which its outcome did not matter to a comparison.
        ending: why it ended, and whether the parameters still moved, in words.
        steps: of training, the same as updates.
        evaluations: of the gradient; with accumulated gradients each micro-batch counts.
        cost: gradient evaluations, the products with a curvature counted as such.
        updates: of the parameters.
        validations: what each has found, as `scratchopt.lightning.Validations` has it.
        metrics: final values by tag, such as `test/accuracy`; null in the file where not finite.
        seconds: of training and testing, by the clock, without start-up; of this process alone,
            where a run was resumed.
        training_seconds: of training alone, of all processes where it was resumed.
        memory: bytes by purpose, as `scratchopt.memory` predicts them: in the first process, of
            which those of fsdp2 and zero1 to zero3 share them. None, if somebody else's optimizer
            has taken no step.
        traffic: bytes by collective operation that the first process has sent since it started, as
            `scratchopt.zero.Processes` counts them. None, where nobody does, as with ddp.
        versions: of Python and the packages that matter; None for one that is not installed. In a
            store the hash of the code too.
        commit: git hash of the project, with `-dirty` after it where files were changed; None
            outside of git.
        error: what a failed run ended with.
        complete: whether nothing is left to be done; false in the middle of a test, too, and where
            it was interrupted or stopped.
    """

    task: str
    optimizer: str
    hyperparameters: dict[str, Any]
    seed: int
    status: str = "finished"
    ending: str = ""
    steps: int = 0
    evaluations: int = 0
    cost: float = 0.0
    updates: int = 0
    validations: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    training_seconds: float = 0.0
    memory: dict[str, int] | None = None
    traffic: dict[str, int] | None = None
    versions: dict[str, str | None] = field(default_factory=versions)
    commit: str | None = field(default_factory=_commit)
    error: str | None = None
    complete: bool = False

    @property
    def failed(self) -> bool:
        """True of a run that diverged or raised an error, so that nothing came of it."""
        return self.status in ("diverged", "failed")

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Reads a `result.json`; keys that an older version did not write get the values they had.

        Raises:
            OSError: a file that cannot be read.
            ValueError: one that is no result.
        """
        content = escape_controls(json.loads(path.read_text(encoding="utf-8")))
        if not (isinstance(content, dict) and content.keys() >= ALWAYS):
            raise ValueError("it is no result of a run")
        content = LATER | {"training_seconds": content["seconds"]} | content
        known = {f.name: f.type for f in fields(cls) if f.name in content}
        for name, kind in known.items():
            if not _fits(content[name], kind):
                raise ValueError(f"its {name} is {json.dumps(content[name])[:50]}")
        result = cls(**{name: content[name] for name in known})
        result.metrics = _read_numbers(result.metrics)
        result.validations = [_read_numbers(row) for row in result.validations]
        return result

    def write(self, directory: Path) -> None:
        """Writes `result.json` whole or not at all."""
        content = asdict(self) | {"metrics": _json_numbers(self.metrics)}
        content["validations"] = [_json_numbers(row) for row in self.validations]
        atomic_write(directory / "result.json", json.dumps(content, indent=2) + "\n")

    def table(self, directory: Path) -> str:
        """The result in aligned lines, and how to see more of it."""
        rows = self.rows(directory)
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())

    def rows(self, directory: Path) -> dict[str, str]:
        """The lines of the table, each by its name."""
        from scratchopt.memory_footprint import describe_bytes  # imports torch

        start = self.hyperparameters.get("task.start")
        where = " in the first process" if self.traffic else ""
        metrics = {tag: f"{value:.6g}" for tag, value in sorted(self.metrics.items())}
        return {
            "task": self.task,
            "optimizer": self.optimizer,
            **({"start": str(start)} if start is not None else {}),
            "status": self.status,
            **({"ending": self.ending} if self.ending else {}),
            "updates": f"{self.updates:,}",
            "evaluations": f"{self.evaluations:,}",
            **({"cost": f"{self.cost:,.0f}"} if self.cost != self.evaluations else {}),
            **metrics,
            **({"error": self.error} if self.error else {}),
            "seconds": f"{self.seconds:.1f}",
            **({"memory": describe_bytes(self.memory) + where} if self.memory else {}),
            **({"traffic": describe_bytes(self.traffic) + where} if self.traffic else {}),
            "run": to_paste(directory),
            "dashboard": f"tensorboard --logdir {to_paste(_runs_beside(directory))}",
        }


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """The values that decide a run, by the key that overrides each, such as `optimizer.lr`."""
    names = ("task", "optimizer", "schedule", "datamodule", "accelerator")
    groups = {name: config[name] or {} for name in names}
    inner = {
        f"{group}.{key}": value
        for group, content in groups.items()
        for key, value in content.items()
        if not key.startswith("_")
    }
    scheduled = {"schedule": name_schedule(config["schedule"])} if config["schedule"] else {}
    lengths = {key: config[key] for key in ("max_epochs", "max_steps", *STEP, "seed")}
    return scheduled | inner | lengths


def _fits(value: Any, kind: Any) -> bool:
    """Tells whether a value of a file is of a field's type; a null within stands for a NaN."""
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    base, inner = get_origin(kind) or kind, get_args(kind)
    if base is dict:
        numbers = inner[1] in (int, float)
        return isinstance(value, dict) and (
            not numbers or all(x is None or _fits(x, float) for x in value.values())
        )
    if base is list:
        return isinstance(value, list) and all(_fits(x, inner[0]) for x in value)
    if base in (int, float):
        return isinstance(value, int | base) and not isinstance(value, bool)
    return isinstance(value, base)


def _json_numbers(values: dict[str, float]) -> dict[str, float | None]:
    """The numbers as JSON has them, which knows neither NaN nor infinity."""
    return {name: x if isfinite(x) else None for name, x in values.items()}


def _read_numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """The numbers of a file, where null stands for one that is not finite."""
    return {name: nan if x is None else x for name, x in values.items()}


def _runs_beside(directory: Path) -> Path:
    """The directory of all runs that one would compare with this one."""
    for parent in directory.parents:
        if parent.name == "outputs" or (parent / "multirun.yaml").exists():  # of a sweep
            return parent
    return directory
