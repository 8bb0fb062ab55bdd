"""A store of runs: each is addressed by what it is, done once, and never changed after that.

A store is a folder with a folder for each run, such as `runs/3f9a0c5e1b7d2468`. The name is a hash
of the run's resolved configuration and of the code that runs it. A run is complete when its
`result.json` says so, and that file takes its place by one rename; so a process that is killed
leaves either a complete run or one that is still to be done, which the next goes on with. Whoever
works on a run holds a lock of the system in its folder, which ends with the process.

Files and not a database: a run leaves a log, pictures and a checkpoint in any case, `plot.py`,
`play.py` and TensorBoard read them as they read any other run's, and there is nothing that could
fall out of step with them.
"""

import json
import shutil
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from scratchopt.config.fields import UserError
from scratchopt.config.paths import absolute_path, quote_override
from scratchopt.runs.checkpoints import CHECKPOINT, is_resumable
from scratchopt.runs.claim import write_configuration
from scratchopt.runs.failure import describe_error, is_outcome, write_failure
from scratchopt.runs.lock import LOCK, lock_directory
from scratchopt.runs.provenance import has_changed, hash_code
from scratchopt.runs.result import Result, hyperparameters

# Keys that say where a run lies or what is made of it later, not what it is.
APART = ("comparison", "figures", "resume", "store", "trusted")
AIM = ("metric", "mode", "target")  # keys of `comparison` that say where `until: target` ends


class StoredRun:
    """A run in a store.

    Args:
        store: the folder.
        config: as `scratchopt.config.schema.validate` returns it.
        choices: names of the task and of the optimizer, by "task" and "optimizer".

    Raises:
        UserError: a run of several processes, which could not agree on whether it is to be done.
    """

    def __init__(self, store: str | Path, config: dict[str, Any], choices: Mapping[str, str]):
        accelerator = config["accelerator"]
        if accelerator["devices"] not in (1, [0]) or accelerator["strategy"] != "auto":
            raise UserError(
                f"store={store}: its runs have one process each; take accelerator.devices=1 and "
                "accelerator.strategy=auto, or leave store out"
            )
        self.config = config | {"store": str(store)}
        self.choices = {key: choices[key] for key in ("task", "optimizer")}
        self.address = compute_address(config, self.choices)
        self.directory = absolute_path(store) / self.address

    @property
    def result(self) -> Result | None:
        """The result of the run; None, if it is not complete."""
        return self.find_result(inf)

    def find_result(self, max_cost: float) -> Result | None:
        """The result of the run, if it is complete or was stopped beyond a cost; else None.

        Args:
            max_cost: in gradient evaluations, beyond which what comes of the run does not matter.
        """
        try:
            result = Result.read(self.directory / "result.json")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UserError(
                f"{self.directory / 'result.json'} is damaged; put a copy back, or delete that "
                "folder and have the run done again"
            ) from error
        beyond = result.status == "stopped" and result.cost > max_cost
        return result if result.complete or beyond else None

    @contextmanager
    def lock(self, wait: bool, max_cost: float = inf) -> Iterator[dict[str, Any]]:
        """Locks the run, and gives the configuration with which it begins or goes on.

        Args:
            wait: for another process that does it, rather than to refuse.
            max_cost: as in `find_result`.

        Raises:
            Busy: another process does it.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with lock_directory(self.directory, wait):
            sound = is_resumable(self.directory / CHECKPOINT)
            if self.find_result(max_cost) is None and not sound:
                for left in self.directory.iterdir():  # by who was killed, or stopped at less
                    if left.name != LOCK:
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
                hydras = {"hydra": {"runtime": {"choices": self.choices}}}
                config = self.config | {"resume": None}
                write_configuration(self.directory, config, hydra=hydras)
            yield self.config | {"resume": str(self.directory) if sound else None}


def complete_run(
    stored: StoredRun,
    wait: bool,
    during: AbstractContextManager[None] | None = None,
    max_cost: float = inf,
) -> tuple[Result, int] | None:
    """Does what is left to do of a run, whatever comes of it.

    An error in training is an outcome: its `result.json` then has the status `failed`, and the
    error. What is about this machine and not about the run is none, and is raised; see
    `scratchopt.runs.failure.is_outcome`.

    Args:
        stored: the run.
        wait: for another process that does it, rather than to refuse.
        during: a context, which is entered while the run is locked.
        max_cost: gradient evaluations after which it may be stopped.

    Returns:
        What came of it, and the signal that ended it before its time or 0; None, if nothing was
        left to do.

    Raises:
        Busy: another process does it.
        UserError: the code has changed since this process first read it; what it has imported may
            be the old code, what it will import is the new.
    """
    if stored.find_result(max_cost) is not None:
        return None
    with stored.lock(wait, max_cost) as config, during or nullcontext():
        if stored.find_result(max_cost) is not None:
            return None
        if has_changed(config):
            raise UserError("the code has changed since this began; give the command again")
        from scratchopt.runs.training import (  # imports torch: only for what is to be done
            Diverged,
            run,
        )

        result = _begin_result(stored, config)
        try:
            return result, run(config, result, stored.directory, max_cost)
        except Diverged:
            return result, 0
        except Exception as error:
            if not is_outcome(error):
                raise
            traceback.print_exc()
            return write_failure(result, describe_error(error), stored.directory), 0


def give_up(stored: StoredRun, error: str) -> None:
    """Records as failed a run that ends every process which does it.

    Raises:
        Busy: another process does it.
    """
    with stored.lock(wait=False) as config:
        if stored.result is None:
            write_failure(_begin_result(stored, config), error, stored.directory)


def _begin_result(stored: StoredRun, config: dict[str, Any]) -> Result:
    task, optimizer = stored.choices["task"], stored.choices["optimizer"]
    result = Result(task, optimizer, hyperparameters(config), config["seed"])
    result.versions["code"] = hash_code(config)
    return result


def direct_to_store(arguments: list[str]) -> list[str]:
    """Adds to the command line's arguments that with `store=` Hydra makes no folders of its own.

    Raises:
        UserError: several stores.
    """
    stores = [a for a in arguments if a.partition("=")[0].lstrip("+") == "store"]
    if not stores:
        return arguments
    parser = OverridesParser.create()
    try:
        [override] = parser.parse_overrides(stores[-1:])
    except OverrideParseException:  # it's a quote or the like, to be taken as it stands
        key, _, name = stores[-1].partition("=")
        arguments = [a for a in arguments if a not in stores]
        arguments.append(f"{key}={quote_override(name)}")
        [override] = parser.parse_overrides(arguments[-1:])
    if override.is_sweep_override():
        raise UserError(f"{stores[-1]}: the runs of a sweep have one store; give one folder")
    value = override.value()
    if value in ("", None):
        return arguments
    folder = quote_override(str(absolute_path(str(value))))
    return [
        *arguments,
        f"hydra.run.dir={folder}",
        f"hydra.sweep.dir={folder}",
        "hydra.sweep.subdir=.",
    ]


def compute_address(config: dict[str, Any], choices: Mapping[str, str]) -> str:
    """Computes the name of a run in a store, 16 hexadecimal digits."""
    decisive = {key: value for key, value in config.items() if key not in APART}
    if decisive["schedule"] is None:  # such a run is what it was before there were schedules
        del decisive["schedule"]
    if config["until"] == "target":
        decisive["aim"] = [config["comparison"][key] for key in AIM]
    text = json.dumps([decisive, dict(choices), hash_code(config)], sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]
