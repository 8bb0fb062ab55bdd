"""Kills a comparison at random moments, and holds what came of it against one that was left alone.

    python -m tests.programs.sweep_kills 20 0

kills 20 times, at moments drawn with seed 0, a process of a sweep of 60 runs by two workers: the
one that asks for the runs, a worker, or all three. Whatever is complete must stay as it is, the
same command must do the rest, and the report, times aside, must be the same to the byte.
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from scratchopt.cli.parser import Parser
from tests.shared.paths import SCRIPTS

RUNS = 60
ARGUMENTS = [
    "task=linear_regression",
    "task.batch_size=20",
    "optimizers=[sgd,momentum,nag]",
    "budget=8",
    "seeds=6",
    "workers=2",
    "max_steps=300",
    "comparison.target=1.0",
    "checkpoint_steps=50",
]


def main(kills: int, seed: int) -> None:
    """Says what was killed when, and what came of it; ends with an error if anything differs."""
    with TemporaryDirectory() as folder:
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        for directory in (alone, killed):
            directory.mkdir()
        began = time.monotonic()
        if start_comparison(alone).wait():
            sys.exit((alone / "log").read_text()[-2000:])
        took = time.monotonic() - began
        print(f"left alone: {took:.0f} s")
        changed = kill_often(killed, kills, took / 4, random.Random(seed))
        faults = [f"{path} was done twice" for path in changed]
        faults += compare_reports(read_report(alone), read_report(killed))
        runs = find_ended(killed)
        if len(runs) != len(find_ended(alone)):
            faults.append(f"{len(runs)} runs have ended, not {len(find_ended(alone))}")
        print(f"{kills} kills, {len(runs)} runs ended, {len(changed)} done twice")
        print("\n".join(faults) or "the report is the same to the byte, times aside")
        sys.exit(1 if faults else 0)


def start_comparison(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the comparison in a process group of its own."""
    command = [sys.executable, SCRIPTS / "compare.py", *ARGUMENTS]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def kill_often(folder: Path, kills: int, patience: float, draw: random.Random) -> set[str]:
    """Has the comparison end in spite of so many kills; returns the runs changed after their end.

    A kill comes up to `patience` seconds after the last one, as long as runs are left.
    """
    changed: set[str] = set()
    before: dict[str, tuple[int, int]] = {}
    asking, done = start_comparison(folder), 0
    while done < kills:
        try:
            asking.wait(draw.uniform(0.0, patience))
            break
        except subprocess.TimeoutExpired:
            pass
        victims = draw.choice(["asking", "worker", "all"])
        workers = list_children(asking.pid)
        if victims == "worker" and not workers:
            continue
        chosen = {"asking": [asking.pid], "worker": workers[:1], "all": [asking.pid, *workers]}
        for pid in chosen[victims]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        done += 1
        now = find_ended(folder)
        changed |= {name for name, stamp in before.items() if now.get(name) != stamp}
        before = now
        print(f"kill {done}: {victims}, {len(now)} of {RUNS} runs ended", flush=True)
        if victims != "worker":
            asking.wait()
            asking = start_comparison(folder)
    if done < kills:
        sys.exit(f"only {done} kills came before the end")
    if asking.wait():
        sys.exit((folder / "log").read_text()[-2000:])
    now = find_ended(folder)
    return changed | {name for name, stamp in before.items() if now.get(name) != stamp}


def list_children(pid: int) -> list[int]:
    """Lists the children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    tasks = Path(f"/proc/{pid}/task")
    found: list[int] = []
    for task in tasks.iterdir() if listed.exists() else []:
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def find_ended(folder: Path) -> dict[str, tuple[int, int]]:
    """Finds the runs that are complete or stopped, with what changes when one is written again."""
    return {
        path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.glob("runs/*/result.json")
        if any(words in path.read_text() for words in ('"complete": true', '"status": "stopped"'))
    }


def read_report(folder: Path) -> dict[str, bytes]:
    """Reads the files of the report but the times, by name."""
    [page] = folder.glob("comparisons/**/report.html")
    return {
        str(path.relative_to(page.parent)): path.read_bytes()
        for path in sorted(page.parent.rglob("*"))
        if path.is_file() and not path.name.startswith("times.")
    }


def compare_reports(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Compares two reports, and names the files that differ."""
    names = sorted(one.keys() | other.keys())
    return [f"{name} differs" for name in names if one.get(name) != other.get(name)]


if __name__ == "__main__":
    parser = Parser(__doc__)
    parser.add_argument("kills", type=int, help="how many")
    parser.add_argument("seed", type=int, help="of the moments")
    asked = parser.parse_args()
    main(asked.kills, asked.seed)
