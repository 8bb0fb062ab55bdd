"""Turns: trainings in processes of their own, of which one makes a block of steps at a time."""

import os
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple


class Times(NamedTuple):
    """Milliseconds a step: by the clock, and of the processor in all threads."""

    wall: float
    cpu: float


class Turns:
    """The turns of one process, which calls `tick` before each of its steps.

    It makes steps·(rounds + 1) + 1 of them; the first round and the last step are not counted.

    Args:
        own: a semaphore that is released when it is this process's turn.
        following: that of the process whose turn is next.
        block: steps of a turn.
        steps: of a round, a multiple of block.
        rounds: that are counted.
    """

    def __init__(self, own: Any, following: Any, block: int, steps: int, rounds: int) -> None:
        self.own, self.following = own, following
        self.block, self.steps, self.rounds = block, steps, rounds
        self.times: list[Times] = []  # of the rounds, the first among them
        self._ticks = 0
        self._round = Times(0.0, 0.0)  # seconds of the round under way
        self._began: Times | None = None  # of the turn under way

    def tick(self) -> None:
        """Counts a step; after each block ends the turn, and waits for the next one."""
        ends = self._ticks % self.block == 0 and len(self.times) <= self.rounds
        self._ticks += 1
        if not ends:
            return
        now = _now()
        if self._began is not None:
            spent = zip(self._round, now, self._began, strict=True)
            self._round = Times(*(sum_ + end - start for sum_, end, start in spent))
            self.following.release()
        if self._ticks > 1 and self._ticks % self.steps == 1:
            self.times.append(Times(*(1000 * seconds / self.steps for seconds in self._round)))
            self._round = Times(0.0, 0.0)
        self.own.acquire()
        if len(self.times) > self.rounds:
            self.following.release()  # now that all have made their last turn
        self._began = _now()


def _now() -> Times:
    return Times(time.perf_counter(), time.process_time())


Side = Callable[[Turns], Any]


def time_in_turns(
    sides: Mapping[str, Side], block: int, steps: int, rounds: int
) -> dict[str, tuple[list[Times], Any]]:
    """Runs each side in a process of its own, a block at a time: A B C A B C.

    So what else the machine does, and how warm it is, is the same for all.

    Args:
        sides: by name, functions that can be pickled and train as `Turns` says.
        block: steps of a turn.
        steps: of a round, a multiple of block.
        rounds: that are counted.

    Returns:
        The times of each round and what the side has returned, by its name.

    Raises:
        RuntimeError: a side that failed, with its traceback.
    """
    context = get_context("spawn")
    semaphores = [context.Semaphore(0) for _ in sides]
    processes, receivers = [], {}
    try:
        for i, (name, side) in enumerate(sides.items()):
            receiver, sender = context.Pipe(duplex=False)
            following = semaphores[(i + 1) % len(semaphores)]
            turns = Turns(semaphores[i], following, block, steps, rounds)
            process = context.Process(target=_work, args=(side, turns, sender), daemon=True)
            process.start()
            sender.close()  # so that its end is seen here
            processes.append(process)
            receivers[receiver] = name
        semaphores[0].release()
        found = {}
        while len(found) < len(sides):
            for receiver in wait([r for r, name in receivers.items() if name not in found]):
                name = receivers[receiver]  # pyright: ignore[reportArgumentType]
                found[name] = _receive(name, receiver)
    finally:
        for process in processes:
            process.kill()
    return {name: found[name] for name in sides}


def _work(side: Side, turns: Turns, sender: Connection) -> None:
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            other = side(turns)
        sender.send((turns.times[1:], other))
    except BaseException:
        sender.send(traceback.format_exc())


def _receive(name: str, receiver: Any) -> tuple[list[Times], Any]:
    try:
        message = receiver.recv()
    except EOFError:
        message = "its process was killed"
    if isinstance(message, str):
        raise RuntimeError(f"{name}: {message}")
    return message
