"""kill -9, fifty times and more."""

import pytest

from tests.shared import commands


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_runs_go_on_bit_for_bit_and_lose_no_checkpoint():
    done = commands.run_module("tests.programs.kills", 50, 4, 0, limit=850)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 55
