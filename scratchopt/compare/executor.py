"""The executor of a comparison, and the processes that do its runs side by side."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from math import isfinite
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from scratchopt.compare.comparison import Comparison
from scratchopt.compare.runs import ScoredRun
from scratchopt.compare.schedule import RunSpec, Schedule
from scratchopt.compare.scoring import score_run
from scratchopt.config.checkout import CHECKOUT
from scratchopt.config.fields import UserError
from scratchopt.objective import Objective
from scratchopt.runs.directory import Run
from scratchopt.runs.lock import Busy
from scratchopt.runs.store import StoredRun, give_up

PATIENCE = 1.0  # seconds until a run is asked for again that somebody else is doing
WORKER = [sys.executable, str(CHECKOUT / "scripts" / "compare.py"), "--worker"]
MAX_PROCESSES = 4  # that may die of one run


class Executor:
    """The runs of a comparison, in a store and on their way there.

    Args:
        schedule: of the comparison.
        workers: that do the runs.
        on_run: called with each run that is complete, the number of those complete by then, and
            whether it was not yet when this began.
    """

    def __init__(
        self, schedule: Schedule, workers: Workers, on_run: Callable[[ScoredRun, int, bool], None]
    ) -> None:
        self.schedule, self.workers, self.on_run = schedule, workers, on_run
        self._stored: dict[RunSpec, StoredRun] = {}
        self._known: dict[str, ScoredRun] = {}  # by address
        self._running: dict[Future[dict[str, str]], RunSpec] = {}
        self._asked_for: set[str] = set()  # addresses
        self._elsewhere: dict[str, float] = {}  # by address, when somebody else was found at it

    def execute(self) -> Comparison:
        """Does all that is missing.

        Raises:
            UserError: a run that cannot be done on this machine.
        """
        while True:
            missing, comparison = self.schedule.plan(self.find_run)
            if not missing:
                return comparison
            self._submit(missing)
            done, _ = wait(self._running, PATIENCE, FIRST_COMPLETED)
            for future in done:
                self._handle(self._running.pop(future), future.result())
            if not (done or self._running):
                time.sleep(PATIENCE)

    def find_run(self, spec: RunSpec, objective: Objective, max_cost: float) -> ScoredRun | None:
        """Finds a run in the store; None, if it has come neither to its end nor to that cost."""
        stored = self._find_stored(spec)
        known = self._known.get(stored.address)
        if known is None or (known.stopped and known.more_than <= max_cost):
            result = stored.find_result(max_cost)
            if result is None:
                return None
            task, optimizer = spec.choices["task"], spec.choices["optimizer"]
            run = Run(stored.directory, task, optimizer, spec.config, result)
            scored = self._known[stored.address] = score_run(run, objective, spec.settings)
            if known is None:
                self.on_run(scored, len(self._known), stored.address in self._asked_for)
        return self._known[stored.address]

    def _find_stored(self, spec: RunSpec) -> StoredRun:
        if spec not in self._stored:
            self._stored[spec] = StoredRun(self.workers.store, spec.config, spec.choices)
        return self._stored[spec]

    def _submit(self, missing: dict[RunSpec, float]) -> None:
        """Submits missing runs to idle workers, but for those that somebody else is at.

        No run is submitted before a worker is free: the later it begins, the better it is known at
        which cost it may be stopped.
        """
        running = {self._find_stored(spec).address for spec in self._running.values()}
        for spec, max_cost in missing.items():
            if len(self._running) == self.workers.count:
                return
            address = self._find_stored(spec).address
            lately = time.monotonic() - self._elsewhere.get(address, -PATIENCE) < PATIENCE
            if address not in running and not lately:
                running.add(address)
                self._asked_for.add(address)
                self._running[self.workers.submit(self._find_stored(spec), max_cost)] = spec

    def _handle(self, spec: RunSpec, answer: dict[str, str]) -> None:
        """Handles the answer of a worker to a run."""
        stored = self._find_stored(spec)
        if answer["state"] == "died":
            try:
                give_up(stored, f"{answer['reason']}; see workers.log in the store")
            except Busy:
                answer = {"state": "busy"}
        if answer["state"] == "busy":
            self._elsewhere[stored.address] = time.monotonic()
        elif answer["state"] == "refused":
            raise UserError(answer["reason"])
        elif answer["state"] == "killed":
            raise UserError(
                f"{stored.directory}: {answer['reason']}, for want of memory perhaps; what is "
                "complete is kept: give workers=1, or leave that setting out"
            )
        elif answer["state"] == "stopped":
            raise KeyboardInterrupt


class Workers:
    """Processes of `compare.py --worker` that do the runs of one store; a context.

    Each begins with the imports once, and does many runs. Leaving the context ends them: a run at
    hand stops after its step, and has a checkpoint. A process that dies is replaced, and its run
    begun again or gone on with.

    Args:
        count: of processes, >= 1.
        store: the folder.
    """

    def __init__(self, count: int, store: Path) -> None:
        self.count, self.store = count, store
        self._threads = ThreadPoolExecutor(count)
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._all: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()  # of the list, and of what follows
        self._ending = False

    def __enter__(self) -> Workers:
        """Starts nothing yet: a process starts when it is needed."""
        return self

    def __exit__(self, *args: Any) -> None:
        """Stops the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._ending = True
            for process in self._all:
                if process.poll() is None:
                    process.terminate()
        self._threads.shutdown()
        for process in self._all:
            process.communicate()

    def submit(self, stored: StoredRun, max_cost: float) -> Future[dict[str, str]]:
        """Has a run done, up to a cost; the future has the worker's answer.

        Its states are those of `scratchopt.runs.worker`; besides "killed", where
        processes were killed over it, and "died", where they ended otherwise, with the `reason`.
        """
        job = {
            "store": str(self.store),
            "config": stored.config,
            "choices": stored.choices,
            "address": stored.address,
            "max_cost": max_cost if isfinite(max_cost) else None,
        }
        return self._threads.submit(self._do, json.dumps(job))

    def _do(self, job: str) -> dict[str, str]:
        status = 0
        for _ in range(MAX_PROCESSES):
            process = self._take_process()
            if process is None:
                return {"state": "stopped"}
            line = _ask(process, job)
            if line:
                answer = json.loads(line)
                if answer["state"] != "failed":
                    self._idle.put(process)
                return answer
            status = process.wait()
            if self._ending:
                return {"state": "stopped"}
        state = "killed" if status == -signal.SIGKILL else "died"
        reason = f"it ended {MAX_PROCESSES} processes, the last with {status}"
        return {"state": state, "reason": reason}

    def _take_process(self) -> subprocess.Popen[str] | None:
        """Takes an idle process, or starts one; None, if they are being ended."""
        while not self._idle.empty():
            process = self._idle.get()
            if process.poll() is None:
                return process
        with self._lock:
            if self._ending:
                return None
            self.store.mkdir(parents=True, exist_ok=True)
            with (self.store / "workers.log").open("ab") as log:
                process = subprocess.Popen(
                    WORKER,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,  # a Ctrl-C is for the one who asks, who then ends them
                )
            self._all.append(process)
        return process


def _ask(process: subprocess.Popen[str], line: str) -> str:
    """Sends a line to a process, and returns its answer; empty, if it has died."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the worker has no pipes")
    try:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return process.stdout.readline()
