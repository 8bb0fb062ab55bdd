"""kill -9, fifty times and more."""

import subprocess
import sys

import pytest

from tests.shared.two_processes import ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_runs_go_on_bit_for_bit_and_lose_no_checkpoint():
    command = [sys.executable, "-m", "tests.programs.kills", "50", "4", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 55
