"""The directory of a run, claimed before anything is written into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from shutil import rmtree
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from scratchopt.atomic_write import atomic_write
from scratchopt.config.fields import UserError
from scratchopt.runs.checkpoints import CHECKPOINT
from scratchopt.runs.lock import lock_directory
from scratchopt.runs.result import Result

# What a run leaves; any of it says that a directory holds one.
LEFT = (".hydra", "result.json", "checkpoints", "events.out.tfevents.*")
FOLDERS = (".hydra", "checkpoints", "figures", "path")  # in which a run has its files


@contextmanager
def claim_directory(directory: Path, cfg: DictConfig) -> Iterator[None]:
    """Locks the directory of a run that begins, and writes its configuration into `.hydra`.

    Hydra itself would write it before any code of this project runs, over that of a run which is
    there already. So it is kept from it, and its three files are written here. They go again where
    the block ends in an error and has written nothing.

    Args:
        directory: one that exists.
        cfg: the run's, as Hydra has composed it.

    Raises:
        Busy: another run is there.
        UserError: the directory holds a run, or is one of those in which a run has its files.
        OSError: nothing can be written.
    """
    for parent in directory.parents:
        if (parent / ".hydra").is_dir() and directory.relative_to(parent).parts[0] in FOLDERS:
            raise UserError(f"{directory}: is a folder of the run {parent}; give one outside of it")
    with lock_directory(directory):
        if any(found for pattern in LEFT for found in directory.glob(pattern)):
            trained = (directory / CHECKPOINT).exists()
            remedy = f"go on with it by resume={quote(str(directory))}" if trained else "delete it"
            if trained and _has_failed(directory):
                remedy = f"mend what it ended in and {remedy}, delete it"
            raise UserError(f"{directory}: holds a run already; {remedy}, or give another folder")
        hydras = HydraConfig.instance().cfg
        overrides = HydraConfig.get().overrides.task
        write_configuration(directory, cfg, hydra=hydras, overrides=overrides)
        try:
            yield
        except Exception:
            if not any(found for pattern in LEFT[1:] for found in directory.glob(pattern)):
                rmtree(directory / ".hydra")  # refused before it began, so it is no run
            raise


def _has_failed(directory: Path) -> bool:
    """Tells whether the run in a directory ended in an error, which it would meet again."""
    try:
        return Result.read(directory / "result.json").status == "failed"
    except (OSError, ValueError):
        return False


def write_configuration(directory: Path, config: Any, **others: Any) -> None:
    """Writes the configuration of a run into `.hydra`, after the others: by it a run is known."""
    for name, content in {**others, "config": config}.items():
        atomic_write(directory / ".hydra" / f"{name}.yaml", OmegaConf.to_yaml(content))
