"""A test file run as a script by two processes of one group, as torchrun starts them."""

import subprocess
import sys


def run_by_two(script: str, *arguments: object) -> None:
    """Runs it to its end, which must be a good one."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
