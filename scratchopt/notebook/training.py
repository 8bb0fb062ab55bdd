"""Trains in a notebook what scripts/train.py trains, and leaves everything else as it was."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig

from scratchopt.cli.arguments import rewrite_arguments
from scratchopt.cli.job import configure
from scratchopt.cli.sweep import Tally
from scratchopt.cli.train import is_user_error, train_and_draw, train_configured
from scratchopt.config.checkout import CHECKOUT, CONF, check_checkout
from scratchopt.config.fields import UserError, as_typed
from scratchopt.config.messages import find_cause, one_line
from scratchopt.config.paths import to_paste
from scratchopt.notebook.interrupted import Interrupted
from scratchopt.notebook.process_state import process_unchanged
from scratchopt.notebook.runs import Runs
from scratchopt.runs import training  # noqa: F401  (here, where no garbage of the user's is frozen)
from scratchopt.runs.checkpoints import CHECKPOINT
from scratchopt.runs.directory import Run, read_run
from scratchopt.runs.notebook_kernel import in_notebook, show_progress
from scratchopt.runs.store import StoredRun

_training = Lock()


def train(*arguments: str) -> Run:
    """Trains once, as `python scripts/train.py` does by the same arguments.

    The run has the same numbers, and its directory the same files. A training that diverges is a
    run with that status; one that is interrupted has a checkpoint, as on the console. What a run
    sets in its process, such as seeds and threads, is afterwards as it was.

    Args:
        arguments: such as `"task=toy"`, `"optimizer=nag"`, `"optimizer.lr=0.1"`.

    Raises:
        UserError: what cannot be had, in one line with the remedy.
        Interrupted: the user has stopped it.
    """
    found: list[Path] = []
    errors: list[Exception] = []

    def train_here(cfg: Any) -> None:
        try:
            found.append(_find_directory(cfg))
            train_configured(cfg, in_sweep=False, may_diverge=True)
        except Exception as error:  # of which Hydra would print something
            errors.append(error)

    if any(argument in ("-m", "--multirun") for argument in arguments):
        raise UserError("-m: one run at a time; sweep() takes the same arguments, without -m")
    with _as_command(arguments, found):
        hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")(train_here)()
        if errors:
            raise errors[0]
    if not found:
        raise UserError(f"{' '.join(arguments)}: nothing to train; leave the option out")
    return read_run(found[0])


def sweep(*arguments: str) -> Runs:
    """Trains every combination of some values, as `python scripts/train.py -m` does.

    If a run fails, its error is printed at once, and the others go on.

    Args:
        arguments: such as `"task=toy"`, `"optimizer=sgd,nag"`, `"optimizer.lr=0.1,1.0"`.

    Raises:
        UserError: what cannot be had, or a sweep of which every run has failed.
        Interrupted: the user has stopped it.
    """
    tally = Tally()
    given = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    with _as_command(["-m", *given], []):
        train_and_draw(tally)
    if tally.failed and not tally.runs:
        raise UserError(tally.describe_failures())
    if tally.failed:
        print(tally.describe_failures(), file=sys.stderr)
    return Runs(tally.runs, tally.output)


def _find_directory(cfg: Any) -> Path:
    """Finds the directory that a run will have; refuses a run that a notebook cannot train."""
    hydras = HydraConfig.get()
    config = configure(cfg, hydras)
    _refuse_processes(config["accelerator"])
    if config["store"]:
        return StoredRun(config["store"], config, hydras.runtime.choices).directory
    return Path(hydras.runtime.output_dir)


@contextmanager
def _as_command(arguments: Any, found: list[Path]) -> Iterator[None]:
    """Lets the block run as train.py with some arguments; its errors are one line each."""
    _check_checkout()
    if wrong := [argument for argument in arguments if not isinstance(argument, str)]:
        raise UserError(f'{wrong[0]!r}: must be a string, such as "optimizer.lr=0.1"')
    error: Any = None
    with _one_at_a_time(), process_unchanged():
        try:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints errors itself
            rewritten = [*rewrite_arguments(list(arguments)), "hydra.job.name=train"]
            if not any(argument.startswith("hydra/hydra_logging") for argument in rewritten):
                rewritten.append("hydra/hydra_logging=none")
            sys.argv = ["train.py", *rewritten]
            yield
        except (SystemExit, KeyboardInterrupt) as ending:
            code = ending.code if isinstance(ending, SystemExit) else None
            if code or found or isinstance(ending, KeyboardInterrupt):  # and not by --help
                said = f"{code}: " if isinstance(code, str) else ""
                error = Interrupted(f"{said}{_explain_stop(found)}")
        except Exception as raised:
            cause = find_cause(raised)
            short = is_user_error(cause) and not isinstance(cause, UserError)
            error = UserError(one_line(cause)) if short else cause
        finally:
            if in_notebook():
                show_progress("")
    if error:
        raise error from None


def _check_checkout() -> None:
    """Refuses to begin where there are no configurations or tasks, or others in their place.

    Raises:
        UserError: with the remedy.
    """
    check_checkout()
    tasks = find_spec("tasks")
    if tasks and tasks.origin and Path(tasks.origin).resolve().parent != CHECKOUT / "tasks":
        raise UserError(f"{tasks.origin}: hides the checkout's tasks/; give yours another name")


def _explain_stop(found: list[Path]) -> str:
    """Says how to go on with what was stopped."""
    if not found:
        return "stopped; what has ended is in its folder, for find_runs()"
    if (found[0] / CHECKPOINT).exists():
        return f'stopped; train("resume={to_paste(found[0])}") goes on with it'
    return f"stopped; {to_paste(found[0])} has no checkpoint yet"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Refuses a second training at once, from another thread: the process has one Hydra.

    Raises:
        UserError: with the remedy.
    """
    if not _training.acquire(blocking=False):
        raise UserError(
            "another thread of this process is training: wait for it, or use another process"
        )
    try:
        yield
    finally:
        _training.release()


def _refuse_processes(accelerator: dict[str, Any]) -> None:
    """Refuses a run of several processes, which a notebook cannot start.

    Raises:
        UserError: with the remedy.
    """
    devices, strategy = accelerator["devices"], accelerator["strategy"]
    one = devices == 1 or (isinstance(devices, list) and len(devices) == 1)
    if not one or strategy != "auto":
        raise UserError(
            f"accelerator.devices={as_typed(devices)} accelerator.strategy={strategy}: a notebook "
            "is one process; run python scripts/train.py in a terminal, and read the run by "
            "find_runs()"
        )
