"""A comparison carried out: what its plan wants is done, until it wants no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait

from scratchopt.compare.collect import measured
from scratchopt.compare.plan import Plan, Wanted
from scratchopt.compare.runs import Comparison, Measured, Objective
from scratchopt.compare.workers import Workers
from scratchopt.config.fields import UserError
from scratchopt.runs.directory import Run
from scratchopt.runs.lock import Busy
from scratchopt.runs.store import StoredRun, give_up

PATIENCE = 1.0  # seconds until a run is asked for again that somebody else is doing


class Conduct:
    """The runs of a comparison, in a store and on their way there.

    Args:
        plan: of the comparison.
        workers: that do the runs.
        told: is called with each run that is complete, and the number of those done and to come.
    """

    def __init__(
        self, plan: Plan, workers: Workers, told: Callable[[Measured, int, int], None]
    ) -> None:
        self.plan, self.workers, self.told = plan, workers, told
        self._kept: dict[Wanted, StoredRun] = {}
        self._known: dict[str, Measured] = {}  # by address
        self._under_way: dict[Future[dict[str, str]], Wanted] = {}
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

    def known(self, wanted: Wanted, objective: Objective) -> Measured | None:
        """What came of a run, if it is complete."""
        kept = self._of(wanted)
        if kept.address not in self._known:
            result = kept.result
            if result is None:
                return None
            task, optimizer = wanted.choices["task"], wanted.choices["optimizer"]
            read = Run(kept.directory, task, optimizer, wanted.config, result)
            run = measured(read, objective, wanted.settings)
            self._known[kept.address] = run
            self.told(run, len(self._known), self.plan.most)
        return self._known[kept.address]

    def _of(self, wanted: Wanted) -> StoredRun:
        if wanted not in self._kept:
            self._kept[wanted] = StoredRun(self.workers.store, wanted.config, wanted.choices)
        return self._kept[wanted]

    def _ask_for(self, missing: list[Wanted]) -> None:
        asked = {self._of(wanted).address for wanted in self._under_way.values()}
        for wanted in missing:
            address = self._of(wanted).address
            lately = time.monotonic() - self._elsewhere.get(address, -PATIENCE) < PATIENCE
            if address not in asked and not lately:
                asked.add(address)
                self._under_way[self.workers.submit(self._of(wanted))] = wanted

    def _take(self, wanted: Wanted, answer: dict[str, str]) -> None:
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
