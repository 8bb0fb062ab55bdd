"""Sides for `scratchopt.bench.turns`, in a module that imports no torch."""

import time
from pathlib import Path

from scratchopt.bench.turns import Turns


def note_steps(turns: Turns, name: str, file: Path, wait: float = 0.0) -> str:
    """Makes steps, each of which appends the side's name to a file."""
    for _ in range(turns.steps * (turns.rounds + 1) + 1):
        turns.tick()
        time.sleep(wait)
        with file.open("a") as steps:
            steps.write(name)
    return name.lower()


def fail(turns: Turns) -> None:
    """Fails at its second step."""
    turns.tick()
    turns.tick()
    raise ZeroDivisionError("of this side")
