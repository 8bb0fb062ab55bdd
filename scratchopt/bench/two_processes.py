"""Two processes of one group, each of one thread, for what is measured between processes."""

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
    context: Any = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_start, (Path(folder) / "store", results, work, arguments), nprocs=2)
    found = dict(results.get() for _ in range(2))
    return [found[rank] for rank in range(2)]


def _start(
    rank: int, store: Path, results: Any, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(store), 2), rank=rank, world_size=2)
    results.put((rank, work(*arguments)))
    dist.destroy_process_group()
