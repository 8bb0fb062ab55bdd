"""A module of the tests, run by two processes of one group, as torchrun starts them."""

from tests.shared.commands import run_module

TORCHRUN = ("torch.distributed.run", "--standalone")


def run_by_two(module: str, *arguments: object, processes: int = 2) -> None:
    """Runs it to its end, which must be a good one."""
    by = (*TORCHRUN, f"--nproc-per-node={processes}", "-m", module, *arguments)
    done = run_module(*by, OMP_NUM_THREADS="1")  # or torchrun warns that it sets it
    assert done.returncode == 0, done.stderr
