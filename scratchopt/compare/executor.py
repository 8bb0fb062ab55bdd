"""A comparison carried out, by processes that do runs side by side."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from scratchopt.compare.collect import score_run
from scratchopt.compare.runs import Comparison, Objective, ScoredRun
from scratchopt.compare.schedule import RunSpec, Schedule
from scratchopt.config.checkout import CHECKOUT
from scratchopt.config.fields import UserError
from scratchopt.runs.directory import Run
from scratchopt.runs.lock import Busy
from scratchopt.runs.store import StoredRun, give_up

PATIENCE = 1.0  # seconds until a run is asked for again that somebody else is doing


class Executor:
    """The runs of a comparison, in a store and on their way there.

    Args:
        plan: of the comparison.
        workers: that do the runs.
        told: is called with each run that is complete, and the number of those done and to come.
    """

    def __init__(
        self, plan: Schedule, workers: Workers, told: Callable[[ScoredRun, int, int], None]
    ) -> None:
        self.plan, self.workers, self.told = plan, workers, told
        self._kept: dict[RunSpec, StoredRun] = {}
        self._known: dict[str, ScoredRun] = {}  # by address
        self._under_way: dict[Future[dict[str, str]], RunSpec] = {}
        self._elsewhere: dict[str, float] = {}  # by address, when somebody else was found at it

    def complete(self) -> Comparison:
        """Does all that is missing.

        Raises:
            UserError: a run that cannot be done on this machine.
        """
        while True:
            missing, comparison = self.plan.look(self.known)
            if not missing:
                return comparison
            self._ask_for(missing)
            done, _ = wait(self._under_way, PATIENCE, FIRST_COMPLETED)
            for future in done:
                self._take(self._under_way.pop(future), future.result())
            if not self._under_way:
                time.sleep(PATIENCE)

    def known(self, wanted: RunSpec, objective: Objective) -> ScoredRun | None:
        """What came of a run, if it is complete."""
        kept = self._of(wanted)
        if kept.address not in self._known:
            result = kept.result
            if result is None:
                return None
            task, optimizer = wanted.choices["task"], wanted.choices["optimizer"]
            read = Run(kept.directory, task, optimizer, wanted.config, result)
            run = score_run(read, objective, wanted.settings)
            self._known[kept.address] = run
            self.told(run, len(self._known), self.plan.most)
        return self._known[kept.address]

    def _of(self, wanted: RunSpec) -> StoredRun:
        if wanted not in self._kept:
            self._kept[wanted] = StoredRun(self.workers.store, wanted.config, wanted.choices)
        return self._kept[wanted]

    def _ask_for(self, missing: list[RunSpec]) -> None:
        asked = {self._of(wanted).address for wanted in self._under_way.values()}
        for wanted in missing:
            address = self._of(wanted).address
            lately = time.monotonic() - self._elsewhere.get(address, -PATIENCE) < PATIENCE
            if address not in asked and not lately:
                asked.add(address)
                self._under_way[self.workers.submit(self._of(wanted))] = wanted

    def _take(self, wanted: RunSpec, answer: dict[str, str]) -> None:
        kept = self._of(wanted)
        if answer["state"] == "died":
            try:
                give_up(kept, f"{answer['reason']}; see workers.log in the store")
            except Busy:
                answer = {"state": "busy"}
        if answer["state"] == "busy":
            self._elsewhere[kept.address] = time.monotonic()
        elif answer["state"] == "refused":
            raise UserError(answer["reason"])
        elif answer["state"] == "killed":
            raise UserError(
                f"{kept.directory}: {answer['reason']}, for want of memory perhaps; what is "
                "complete is kept: give workers=1, or leave that setting out"
            )
        elif answer["state"] == "stopped":
            raise KeyboardInterrupt


WORKER = [sys.executable, str(CHECKOUT / "scripts" / "compare.py"), "--worker"]
MAX_PROCESSES = 4  # of a run: so many processes may die of it


class Workers:
    """Runs of one store, done by some processes of `compare.py --worker`; a context.

    Leaving it ends them: a run at hand stops after its step, and has a checkpoint. A process that
    dies is replaced, and its run begun again or gone on with.

    Args:
        count: of processes, >= 1.
        store: the folder.
    """

    def __init__(self, count: int, store: Path) -> None:
        self.store = store
        self._threads = ThreadPoolExecutor(count)
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._all: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()  # of the list, and of what follows
        self._ending = False

    def __enter__(self) -> Workers:
        """Nothing yet: a process starts when it is needed."""
        return self

    def __exit__(self, *args: Any) -> None:
        """Ends the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._ending = True
            for process in self._all:
                if process.poll() is None:
                    process.terminate()
        self._threads.shutdown()
        for process in self._all:
            process.communicate()

    def submit(self, kept: StoredRun) -> Future[dict[str, str]]:
        """Has a run done; the future has the worker's answer.

        Its states are those of `scratchopt.runs.worker`; besides "killed", where
        processes were killed over it, and "died", where they ended otherwise, with the `reason`.
        """
        asked = {
            "store": str(self.store),
            "config": kept.config,
            "choices": kept.choices,
            "address": kept.address,
        }
        return self._threads.submit(self._do, json.dumps(asked))

    def _do(self, line: str) -> dict[str, str]:
        status = 0
        for _ in range(MAX_PROCESSES):
            process = self._process()
            if process is None:
                return {"state": "stopped"}
            told = _ask(process, line)
            if told:
                answer = json.loads(told)
                if answer["state"] != "failed":
                    self._idle.put(process)
                return answer
            status = process.wait()
            if self._ending:
                return {"state": "stopped"}
        state = "killed" if status == -signal.SIGKILL else "died"
        return {
            "state": state,
            "reason": f"it ended {MAX_PROCESSES} processes, the last with {status}",
        }

    def _process(self) -> subprocess.Popen[str] | None:
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
    """The answer of a process; empty, if it has died."""
    asks, answers = _pipes_of(process)
    try:
        asks.write(f"{line}\n")
        asks.flush()
    except BrokenPipeError:
        return ""
    return answers.readline()


def _pipes_of(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the worker has no pipes")
    return process.stdin, process.stdout
