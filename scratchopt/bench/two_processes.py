"""Two processes of one group, each of one thread, for what is measured between processes."""

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing


def run_by_two(work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Calls a function in two new processes, and returns what they return, by rank.

    Args:
        work: a function that can be pickled; what it returns, too.
        *arguments: of it.

    Raises:
        torch.multiprocessing.ProcessRaisedException: one that failed, with its traceback.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        multiprocessing.spawn(_start, (folder, work, arguments), nprocs=2)
        return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(2)]


def _start(rank: int, folder: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    # In a file: a queue holds 64 KB until it is read, and that is after both have ended.
    (folder / str(rank)).write_bytes(pickle.dumps(work(*arguments)))
    dist.destroy_process_group()
