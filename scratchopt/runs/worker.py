"""A process that does runs of a store, one after the other, as its parent tells it.

It reads a line of JSON for each, {"store", "config", "choices", "address", "max_cost"} with a null
where the run has no limit, and answers with one:
{"state": "done"}; "failed", after which it ends, as an error may have left a device unusable;
"busy", where another process is doing that run; "stopped" by a signal; or "refused", with the
"reason". What a run prints, warnings above all, is in `<its folder>.console`.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from scratchopt.config.fields import UserError
from scratchopt.config.messages import find_cause, one_line
from scratchopt.runs.lock import Busy
from scratchopt.runs.store import StoredRun, complete_run

PARENT = os.getppid()
EXPLAINED = (UserError, HydraException, OSError)  # whose messages say it all


def work() -> None:
    """Does runs until no more are asked for."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    for line in sys.stdin:
        reply = do_run(json.loads(line))
        print(json.dumps(reply), file=replies, flush=True)
        if reply["state"] == "failed":
            return
        gc.collect()


def do_run(job: dict[str, Any]) -> dict[str, str]:
    """Does the run that a line of the parent describes, and returns the reply."""
    try:
        stored = StoredRun(job["store"], job["config"], job["choices"])
        if stored.address != job["address"]:
            changed = "the code has changed since the comparison began; give the command again"
            return {"state": "refused", "reason": changed}
        max_cost = inf if job["max_cost"] is None else job["max_cost"]
        during = _redirect_output(stored)
        done = complete_run(stored, wait=False, during=during, max_cost=max_cost)
    except Busy:
        return {"state": "busy"}
    except EXPLAINED as error:
        return {"state": "refused", "reason": one_line(find_cause(error))}
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"state": "refused", "reason": f"{job['address']}: {reason}"}
    result, signum = done or (None, 0)
    if result and result.status == "failed":
        return {"state": "failed"}
    return {"state": "stopped" if signum else "done"}


@contextmanager
def _redirect_output(stored: StoredRun) -> Iterator[None]:
    """Redirects what is printed to a file beside the run's folder; an empty file is removed."""
    console = Path(f"{stored.directory}.console")
    before = [os.dup(stream) for stream in (1, 2)]
    with console.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        for stream, old in zip((1, 2), before, strict=True):
            os.dup2(old, stream)
            os.close(old)
        if console.stat().st_size == 0:
            console.unlink()


def _stop_with_parent() -> None:
    """Stops the current run, with a checkpoint, when the parent has ended."""
    while os.getppid() == PARENT:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
