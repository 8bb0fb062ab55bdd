"""The lock on a directory: one process at a time, and none after its process."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from scratchopt.runs.lock import Busy, lock_directory
from tests.shared.paths import ROOT

HOLD = """
import sys, time
from pathlib import Path
from scratchopt.runs.lock import lock_directory
with lock_directory(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_directory_is_locked_for_other_processes_until_it_is_released(tmp_path, holder):
    with pytest.raises(Busy, match="another run is writing there"), lock_directory(tmp_path):
        pass
    holder.stdin.close()
    with lock_directory(tmp_path, wait=True):
        assert holder.wait(10) == 0


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path, holder):
    holder.kill()
    holder.wait()
    with lock_directory(tmp_path):
        pass


def test_a_lock_leaves_one_hidden_file(tmp_path):
    for _ in range(2):
        with lock_directory(tmp_path):
            pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
