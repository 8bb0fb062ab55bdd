"""A job of train.py as Hydra knows it: its configuration, and the run that it has left."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from scratchopt.config.paths import absolute_path
from scratchopt.config.schema import validate
from scratchopt.runs.directory import Run
from scratchopt.runs.result import Result
from scratchopt.runs.store import StoredRun


def configure(cfg: Any, hydras: Any) -> dict[str, Any]:
    """Validates the configuration of a run, and resolves what depends on where it runs.

    Args:
        cfg: as Hydra has composed it.
        hydras: the node `hydra` beside it.
    """
    config = validate(cfg)
    if config["task"].get("data_dir") and hydras.job.chdir:
        config["task"]["data_dir"] = str(absolute_path(config["task"]["data_dir"]))
    return config


def find_run(job: JobReturn) -> Run | None:
    """Finds the run that a job has left here; None, if it has left nothing to draw."""
    hydras: Any = job.hydra_cfg
    try:
        config = configure(job.cfg, hydras.hydra)
        choices, directory = hydras.hydra.runtime.choices, Path(hydras.hydra.runtime.output_dir)
        if config["store"]:
            directory = StoredRun(config["store"], config, choices).directory
        result = Result.read(directory / "result.json")
    except Exception:  # it has told of its error, or lies on another machine
        return None
    if result.failed and not result.updates:
        return None
    return Run(directory, choices["task"], choices["optimizer"], config, result)
