"""Processes that do runs side by side: each begins with the imports once, and does many."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from scratchopt.config.checkout import CHECKOUT
from scratchopt.runs.store import StoredRun

COMMAND = [sys.executable, str(CHECKOUT / "scripts" / "compare.py"), "--worker"]
LIVES = 4  # of a run: so many processes may die of it


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
        for _ in range(LIVES):
            process = self._process()
            if process is None:
                return {"state": "stopped"}
            told = _said(process, line)
            if told:
                answer = json.loads(told)
                if answer["state"] != "failed":
                    self._idle.put(process)
                return answer
            status = process.wait()
            if self._ending:
                return {"state": "stopped"}
        state = "killed" if status == -signal.SIGKILL else "died"
        return {"state": state, "reason": f"it ended {LIVES} processes, the last with {status}"}

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
                    COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,  # a Ctrl-C is for the one who asks, who then ends them
                )
            self._all.append(process)
        return process


def _said(process: subprocess.Popen[str], line: str) -> str:
    """The answer of a process; empty, if it has died."""
    asks, answers = _ends(process)
    try:
        asks.write(f"{line}\n")
        asks.flush()
    except BrokenPipeError:
        return ""
    return answers.readline()


def _ends(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the worker has no pipes")
    return process.stdin, process.stdout
