"""Trains a task with an optimizer; `python scripts/train.py --help` says how."""

import atexit
import gc
import os
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from scratchopt.cli.arguments import rewrite_arguments
from scratchopt.cli.job import configure
from scratchopt.cli.streams import guard_streams
from scratchopt.cli.sweep import Tally, find_objective, tally_runs
from scratchopt.cli.sweep_pictures import draw_sweep
from scratchopt.config.checkout import CONF
from scratchopt.config.fields import UserError
from scratchopt.config.messages import GIVEN_WRONG, find_cause, one_line
from scratchopt.config.paths import to_paste
from scratchopt.config.processes import (
    await_rank_zero,
    exit_with,
    is_process_lost,
    is_rank_zero,
)
from scratchopt.runs.claim import claim_directory
from scratchopt.runs.failure import NO_MEMORY, describe_error, is_outcome, write_failure
from scratchopt.runs.lock import lock_directory
from scratchopt.runs.notebook_kernel import in_notebook, show_progress
from scratchopt.runs.result import Result, hyperparameters
from scratchopt.runs.store import StoredRun, complete_run
from scratchopt.runs.targets import check_targets

TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"  # the user wants them
# Whose errors explain themselves. Any other error is a mistake in a program, and shows where.
EXPLAINED = (ValueError, TypeError, RuntimeError, OSError, ImportError)
EXPLAINING = ("scratchopt.", "tasks.", "hydra.", "lightning.", "torch.optim.")


def main() -> None:
    """Does what the command line says, or says in one line why not."""
    guard_streams()
    atexit.register(gc.freeze)  # what is left then goes with the process
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints errors itself, on many lines
    tally = Tally()
    try:
        sys.argv[1:] = rewrite_arguments(sys.argv[1:])
        train_and_draw(tally)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        exit_with_error(error)
    if tally.failed:
        sys.exit(f"train.py: {tally.describe_failures()}")


def train_and_draw(tally: Tally) -> None:
    """Trains as `sys.argv` says, and draws a sweep's runs together."""
    try:
        with tally_runs(tally, TRACEBACKS):
            train()
    except Exception:  # a sweep that was interrupted is not drawn
        draw_sweep(tally.runs, tally.output)
        raise
    draw_sweep(tally.runs, tally.output)


@hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")
def train(cfg: DictConfig) -> float | None:
    """Trains once, for a single run or for one of a sweep, and returns what a sweeper is told."""
    guard_streams()  # of a launcher's process, too
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if not (in_sweep or TRACEBACKS):
        del os.environ["HYDRA_FULL_ERROR"]  # not for the processes that DDP starts
    try:
        return train_configured(cfg, in_sweep, may_diverge=in_sweep)
    except Exception as error:
        if in_sweep:
            tell_of_failure(error)
            raise  # for the sweep to be counted; it goes on
        exit_with_error(error)


def train_configured(cfg: DictConfig, in_sweep: bool, may_diverge: bool) -> float | None:
    """Validates the configuration, trains, and prints what came of it.

    Args:
        cfg: as Hydra has composed it.
        in_sweep: true for one of a sweep's runs.
        may_diverge: true if a run that diverges is reported, and is no error.

    Returns:
        What `scratchopt.cli.sweep.find_objective` says of it.
    """
    hydras = HydraConfig.get()
    config = configure(cfg, hydras)
    if in_sweep and config["figures"] is None:
        config["figures"] = False
    directory, chosen = Path(hydras.runtime.output_dir), hydras.runtime.choices
    if config["resume"]:
        check_targets(config, directory, config["trusted"])
    if config["store"]:
        return find_objective(config, train_in_store(config, may_diverge, chosen))
    if not is_rank_zero():
        held = nullcontext()
    elif config["resume"]:
        held = lock_directory(directory)
    else:
        held = claim_directory(directory, cfg)
    with held:
        return find_objective(config, train_in_directory(config, may_diverge, directory, chosen))


def train_in_store(config: dict[str, Any], may_diverge: bool, chosen: Any) -> Result:
    """Trains, unless the run is complete in the store, and prints what came of it.

    Raises:
        UserError: a run that failed, now or when it was done.
    """
    stored = StoredRun(config["store"], config, chosen)
    result, signum = complete_run(stored, wait=True) or (stored.result, None)
    if result is None:
        raise UserError(f"{stored.directory}: somebody has deleted it; give the command again")
    if signum is None:
        print(f"{stored.directory}: complete already", flush=True)
    else:
        print_result(result, stored.directory)
    if signum:
        sys.exit(128 + signum)
    if result.failed:
        error = result.error or "the run diverged"
        ending = f"{to_paste(stored.directory)}: {error}; it stays so in the store"
        if result.status == "failed" or not may_diverge:
            raise UserError(ending)
        print(f"train.py: {ending}", file=sys.stderr)
    return result


def train_in_directory(
    config: dict[str, Any], may_diverge: bool, directory: Path, chosen: Any
) -> Result:
    """Trains, and prints what came of it; where that is an error, its result is written."""
    first = "scratchopt.runs.training" not in sys.modules  # of a sweep, which makes garbage
    if first:
        gc.disable()  # the imports make a million objects and none: half a second's vain search
    from scratchopt.runs.training import (  # imports torch: only for a configuration that is right
        Diverged,
        run,
    )

    if first:
        gc.freeze()
        gc.enable()

    result = Result(chosen["task"], chosen["optimizer"], hyperparameters(config), config["seed"])
    try:
        signum = run(config, result, directory)
    except Diverged as error:
        if not may_diverge:
            raise
        print(f"train.py: {to_paste(directory)}: {error}", file=sys.stderr)
        signum = 0
    except Exception as error:
        earlier = not result.updates and (directory / "result.json").exists()  # of a resumed run
        if is_outcome(error) and not earlier and is_rank_zero():
            write_failure(result, describe_error(error), directory)
        raise
    if result.seconds:  # which the first process alone has filled in
        print_result(result, directory)
    if signum and is_rank_zero():
        sys.exit(128 + signum)
    return result


def print_result(result: Result, directory: Path) -> None:
    """Prints what came of a run, except in a notebook, which shows the run itself."""
    if not in_notebook():
        print(f"\n{result.table(directory)}", flush=True)
    elif HydraConfig.get().mode == RunMode.MULTIRUN:  # and shows them when all have ended
        show_progress(f"{to_paste(directory)}: {result.status}")


def tell_of_failure(error: Exception) -> None:
    """Tells at once of the error of one of a sweep's runs, and where it was to lie."""
    reason = find_cause(error)
    if TRACEBACKS or not is_user_error(reason):
        traceback.print_exception(reason)
    hydras = HydraConfig.get()
    place = to_paste(Path(hydras.runtime.output_dir))
    if place not in (message := describe(reason)):
        named = hydras.sweep.subdir == "."  # by its store, as all others are
        which = f" ({' '.join(hydras.overrides.task)})" if named else ""
        message = f"{place}{which}: {message}"
    print(f"train.py: {message}", file=sys.stderr, flush=True)


def describe(error: Exception) -> str:
    """Describes an error on a line: its message, after its kind if it was not made to be read."""
    words = one_line(error)
    return words if is_user_error(error) else f"{type(error).__name__}: {words}"


def exit_with_error(error: Exception) -> NoReturn:
    """Exits with a line, after a traceback if the error was not made to be read."""
    reason: Any = find_cause(error)
    if not is_rank_zero():
        await_rank_zero()
    if is_process_lost(reason):
        exit_with("train.py: another process of this run has ended, so this one does too")
    if TRACEBACKS or not is_user_error(reason):
        traceback.print_exception(reason)
    message = describe(reason)
    if HydraConfig.initialized() and is_outcome(reason) and not isinstance(reason, GIVEN_WRONG):
        message = f"{to_paste(Path(HydraConfig.get().runtime.output_dir))}: {message}"
    exit_with(f"train.py: {message}")


def is_user_error(error: Exception) -> bool:
    """Tells whether an error is about what the user asked for, not a mistake in a program."""
    if isinstance(error, (UserError, *GIVEN_WRONG)):
        return True
    if any(words in str(error) for words in NO_MEMORY):
        return True
    if isinstance(error, OSError):  # a file that cannot be read, a directory that cannot be made
        return True
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, if it is imported
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    raised_in = frame.f_globals["__name__"]
    return isinstance(error, EXPLAINED) and raised_in.startswith(EXPLAINING)
