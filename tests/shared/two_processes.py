"""A module of the tests, run by two processes of one group, as torchrun starts them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def run_by_two(module: str, *arguments: object) -> None:
    """Runs it to its end, which must be a good one."""
    command = [*TORCHRUN, "--nproc-per-node=2", "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
