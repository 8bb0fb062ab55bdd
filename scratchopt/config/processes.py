"""The processes of a run: who started them, which one speaks for all, what if one is lost."""

import logging
import os
import sys
import threading
import time
from typing import NamedTuple, NoReturn

PARENT = os.getppid()
PATIENCE = 10.0  # seconds that a process is given to end by itself


class Launcher(NamedTuple):
    """A program that started all processes of a run, and how many they are."""

    name: str
    processes: int
    nodes: int
    per_node: str  # its option for the number of processes on a node


def launcher() -> Launcher | None:
    """The launcher that the environment names; Lightning looks for the same, in this order."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        processes, nodes = int(env["WORLD_SIZE"]), int(env["GROUP_WORLD_SIZE"])
        return Launcher("torchrun", processes, nodes, "--nproc-per-node")
    at_a_prompt = env.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if "SLURM_STEP_NUM_TASKS" in env and not at_a_prompt:
        processes, nodes = int(env["SLURM_STEP_NUM_TASKS"]), int(env["SLURM_STEP_NUM_NODES"])
        return Launcher("srun", processes, nodes, "--ntasks-per-node")
    return None


def is_rank_zero() -> bool:
    """Tells by the environment whether this process is the one that speaks and writes for all."""
    env = os.environ
    if "RANK" in env:
        return env["RANK"] == "0"
    started = launcher()
    ranks = ("SLURM_PROCID",) if started else ("NODE_RANK", "LOCAL_RANK")
    return all(env.get(rank, "0") == "0" for rank in ranks)


def adapt_to_rank(arguments: list[str]) -> list[str]:
    """Adds to the command line's arguments that only the first process makes a run's directory.

    Each process reads `${now:}` at a time of its own. The others need no directory, unless they
    are to read a checkpoint, and then all are given the same.
    """
    if is_rank_zero():
        return arguments
    given = any(argument.startswith("hydra.run.dir=") for argument in arguments)
    return [*arguments, *([] if given else ["hydra.run.dir=."])]


def await_rank_zero() -> None:
    """Leaves it to the first process to report an error that it has met too.

    That one is the parent, whose end also ends this process, or it was started by the same
    launcher, which then kills this process. If it goes on, the error is this process's own.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if os.getppid() != PARENT:
            os._exit(1)
        time.sleep(0.05)


def is_process_lost(error: BaseException) -> bool:
    """Tells whether the error is that another process of the run has ended."""
    return isinstance(error, RuntimeError) and "gloo/transport" in str(error)


def exit_with(line: str) -> NoReturn:
    """Exits with a last line; at once, if there are other processes, as one may be stuck."""
    if launcher() or "LOCAL_RANK" in os.environ:
        sys.stdout.flush()
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        os._exit(1)
    sys.exit(line)


def watch_processes() -> None:
    """Has this process end if Lightning started others and one of them has ended wrongly.

    An error in a collective operation tells of it in most cases, and is given time to do so.
    """
    log = logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")
    log.handlers, log.propagate = [_KillHandler()], False
    log.setLevel(logging.INFO)
    if not is_rank_zero() and not launcher():
        threading.Thread(target=_follow_rank_zero, daemon=True).start()


class _KillHandler(logging.Handler):
    """Tells the user what Lightning only logs: a process has ended, and it kills the others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Waits, in Lightning's own thread, and speaks for a process that was killed."""
        time.sleep(PATIENCE)
        if "code -" in record.getMessage():
            sys.stderr.write("train.py: a process of this run was killed, and so are the others\n")


def _follow_rank_zero() -> None:
    while os.getppid() == PARENT:
        time.sleep(1)
    time.sleep(PATIENCE)
    os._exit(1)
