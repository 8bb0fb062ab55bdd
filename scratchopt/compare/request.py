"""The request for a comparison, and the configuration of each run of it."""

from __future__ import annotations

import os
import re
import shlex
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from scratchopt.config.checkout import CONF
from scratchopt.config.fields import UserError, as_typed
from scratchopt.config.schema import has_objective, validate, validate_comparison
from scratchopt.objective import Objective
from scratchopt.runs.sweep_names import name_folder

# Of the keys of conf/compare.yaml, those that decide nothing of what is reported.
UNREPORTED = ("store", "output", "workers")
SEED_GAP = 100  # between the first seed of the tuning and the first fresh one


@dataclass(frozen=True)
class Request:
    """The request for a comparison.

    Args:
        keys: of conf/compare.yaml, with their values.
        given: those of them that the command line gives.
        overrides: of train.yaml, for every run.
        config_dir: a further folder of configurations, or None.
    """

    keys: dict[str, Any]
    given: tuple[str, ...]
    overrides: tuple[str, ...]
    config_dir: Path | None = None

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        given = self.keys["task"]
        return given if isinstance(given, list) else [given]

    @property
    def optimizers(self) -> list[str]:
        """The names of the optimizers."""
        given = self.keys["optimizers"]
        return given if isinstance(given, list) else [given]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The fresh seeds, of the runs that are judged."""
        first = self.keys["seed"] + max(SEED_GAP, self.keys["budget"])
        return tuple(range(first, first + self.keys["seeds"]))

    @property
    def output(self) -> Path:
        """The folder of the report."""
        if self.keys["output"]:
            return Path(os.path.expanduser(self.keys["output"]))
        always = f"budget={self.keys['budget']},seeds={self.keys['seeds']}"
        named = ("task", "optimizers", "budget", "seeds")
        more = [words for words in self.given_arguments if words.partition("=")[0] not in named]
        name = re.sub(r"[^\w=.,+-]+", "_", ",".join([*self.optimizers, always, *more]))
        return Path("comparisons", ",".join(self.tasks), name_folder(name))

    @property
    def given_arguments(self) -> list[str]:
        """The arguments of the command line, without those that say where files lie."""
        own = [f"{k}={self._format(k)}" for k in self.given if k not in UNREPORTED]
        return [*own, *self.overrides]

    @property
    def command(self) -> str:
        """The command line that asks for the same, wherever its runs lie."""
        own = [f"{k}={self._format(k)}" for k in self.keys if k not in UNREPORTED]
        folder = ["--config-dir", str(self.config_dir)] if self.config_dir else []
        return shlex.join(["python", "scripts/compare.py", *folder, *own, *self.overrides])

    def _format(self, key: str) -> str:
        value = self.keys[key]
        return _format_value(
            list(value) if key == "tune" and self.keys["search"] == "optuna" else value
        )

    @cached_property
    def _composed(self) -> dict[tuple[str, str], DictConfig]:
        folder = f"hydra.searchpath=[{self.config_dir.absolute()}]" if self.config_dir else None
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return {
                (task, optimizer): compose(
                    "train",
                    [
                        *([folder] if folder else []),
                        f"task={task}",
                        f"optimizer={optimizer}",
                        *self.overrides,
                    ],
                )
                for task in self.tasks
                for optimizer in self.optimizers
            }

    def compose_default(self, task: str, optimizer: str) -> DictConfig:
        """Composes the configuration of a run at its default settings.

        With `start=library` these are the optimizer's own defaults, whatever suits it on the task.
        """
        cfg = deepcopy(self._composed[task, optimizer])
        comparison = validate_comparison(cfg) or {}
        given = {key.lstrip("+") for key, _, _ in (o.partition("=") for o in self.overrides)}
        if "validate_every" in given:
            given.add("validate_steps")
        with open_dict(cfg):
            if self.keys["start"] == "library":
                cfg.settings = None
            for key in ("validate_steps", "max_steps"):
                if comparison.get(key) is not None and key not in given:
                    cfg[key] = comparison[key]
            cfg.threads = 1 if "threads" not in given else cfg.threads
            cfg.figures = cfg.checkpoint_kept = False
            cfg.until = self.keys["until"]
        return cfg

    def compose_run(
        self, task: str, optimizer: str, settings: dict[str, Any], seed: int, test: bool
    ) -> dict[str, Any]:
        """Composes and validates the configuration of a run.

        Args:
            task: name of the choice in conf/task.
            optimizer: name of the choice in conf/optimizer.
            settings: by key, such as {"optimizer.lr": 0.1}.
            seed: of the run.
            test: true to have it tested at its end.

        Raises:
            UserError: a value out of its range.
        """
        cfg = self.compose_default(task, optimizer)
        for key, value in {**settings, "seed": seed, "test": test}.items():
            OmegaConf.update(cfg, key, value)
        return validate(cfg)

    def default_settings(self, task: str, optimizer: str) -> dict[str, Any]:
        """The optimizer's own settings of what is searched: the lr and the keys of `tune`."""
        cfg = self.compose_default(task, optimizer)
        node: Any = OmegaConf.to_container(cfg.optimizer, resolve=True)
        if not isinstance(node.get("lr"), int | float):
            raise UserError(f"optimizers: {optimizer} has no lr to be searched; leave it out")
        return {f"optimizer.{k}": node[k] for k in ("lr", *self.keys["tune"]) if k in node}

    def task_has_lr(self, task: str, optimizer: str) -> bool:
        """Tells whether the search begins at an lr that the task has for this optimizer."""
        cfg = self.compose_default(task, optimizer)
        for suits in (cfg.get("settings") or {}).values():
            if "lr" in (suits or {}):
                suits.lr = nan
        return isnan(cfg.optimizer.lr)  # which is taken from there

    def objective(self, task: str) -> Objective:
        """The objective of a task.

        Raises:
            UserError: a task that says nothing of it.
        """
        cfg = self.compose_default(task, self.optimizers[0])
        keys = validate_comparison(cfg)
        if not keys or not has_objective(keys):
            raise UserError(
                f"task={task}: its configuration does not say what to compare by; add to its YAML "
                "comparison: {metric: train/loss, mode: min, target: 0.1}, or another tag that it "
                "logs"
            )
        validate(cfg)  # the rest of it, now that a missing objective has been told of
        return Objective.from_keys(keys)


def _format_value(value: Any) -> str:
    """Formats a value such that Hydra reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(_format_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{_format_value(v)}' for k, v in value.items())}}}"
    return as_typed(value)
