"""The processes of a training: the collective operations that it is made of, and their traffic."""

from collections import Counter
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

# Older versions of torch have the other names.
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor

Works: TypeAlias = list[Any]  # of operations under way; each has a wait()


class Processes:
    """The processes of a group, each with a rank, and what they send each other.

    A buffer is cut at `bounds`, ascending places of which the first is 0 and the last its length:
    the segment of process r is `buffer[bounds[r] : bounds[r + 1]]`.

    `traffic` counts the bytes that this process puts into each operation: n for a reduce-scatter
    and for an all-gather of a buffer of n bytes, and 2n for an all-reduce, which is one after the
    other. What is sent beside parameters and gradients, such as norms, counts as "other".

    Args:
        group: of torch.distributed; None, all processes.
        patience: seconds to wait for the others where a state is put together.

    Raises:
        RuntimeError: torch.distributed has not been set up.
    """

    def __init__(self, group: Any = None, patience: float = 60.0) -> None:
        if not dist.is_initialized():
            raise RuntimeError(
                "there are no processes yet: start the program with torchrun, and call "
                "torch.distributed.init_process_group()"
            )
        self.group, self.rank, self.count = group, dist.get_rank(group), dist.get_world_size(group)
        self.patience = patience
        self.traffic: Counter[str] = Counter()
        self._control = _find_gloo_group(group or dist.group.WORLD)  # for what is on no device

    def all_reduce(self, buffer: Tensor, *, is_other: bool = False) -> Works:
        """Begins to add up a buffer over all processes, in place."""
        self.count_bytes("other" if is_other else "all-reduce", 2 * buffer.nbytes)
        return [dist.all_reduce(buffer, group=self.group, async_op=True)]

    def reduce_scatter(self, buffer: Tensor, bounds: list[int]) -> Works:
        """Begins to add up a buffer in place, of which each process then has its own segment."""
        self.count_bytes("reduce-scatter", buffer.nbytes)
        if _are_equal(bounds):
            own = self._segment(buffer, bounds)
            return [_reduce_scatter(own, buffer, group=self.group, async_op=True)]
        return [
            dist.reduce(buffer[start:stop], group_dst=rank, group=self.group, async_op=True)
            for rank, start, stop in _segments(bounds)
        ]

    def all_gather(self, buffer: Tensor, bounds: list[int]) -> Works:
        """Begins to fill a buffer, in place, with the segment that each process has."""
        self.count_bytes("all-gather", buffer.nbytes)
        if _are_equal(bounds):
            own = self._segment(buffer, bounds)
            return [_all_gather(buffer, own, group=self.group, async_op=True)]
        return [
            dist.broadcast(buffer[start:stop], group_src=rank, group=self.group, async_op=True)
            for rank, start, stop in _segments(bounds)
        ]

    def send_from_first(self, tensors: list[Tensor]) -> None:
        """Gives all processes what the first one has in some tensors, in place."""
        for tensor in tensors:
            self.count_bytes("other", tensor.nbytes)
            dense = tensor.detach().contiguous()  # as a collective operation wants it
            dist.broadcast(dense, group_src=0, group=self.group)
            if dense.data_ptr() != tensor.data_ptr():
                tensor.detach().copy_(dense)

    def add_up(self, numbers: Tensor) -> Tensor:
        """Adds up a few numbers over all processes, in place."""
        for work in self.all_reduce(numbers, is_other=True):
            work.wait()
        return numbers

    def find_any(self, flags: list[bool], device: torch.device) -> list[bool]:
        """Tells for each flag whether it is true in any process."""
        return self.add_up(torch.tensor(flags, dtype=torch.int32, device=device)).bool().tolist()

    def meet(self, asked: str) -> None:
        """Waits for all processes to come here, as they must before they put something together.

        Args:
            asked: for what.

        Raises:
            RuntimeError: one has not come after `patience` seconds.
        """
        try:
            meeting: Any = dist.barrier(self._control, async_op=True)
            meeting.wait(timedelta(seconds=self.patience))
        except RuntimeError as error:
            raise RuntimeError(
                f"process {self.rank} asked for {asked}, and another of the {self.count} has not "
                f"within {self.patience:g} s: let all processes ask, and save in one of them"
            ) from error

    def gather_objects(self, own: Any) -> list[Any]:
        """Gathers what each process has, by rank; tensors must lie on the CPU."""
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, own, group=self._control)
        return found

    def count_bytes(self, operation: str, size: int) -> None:
        """Counts what this process puts into an operation, as it begins."""
        self.traffic[operation] += size

    def _segment(self, buffer: Tensor, bounds: list[int]) -> Tensor:
        return buffer[bounds[self.rank] : bounds[self.rank + 1]]


def wait_for(works: Works) -> None:
    """Waits until all operations are done, and forgets them."""
    for work in works:
        work.wait()
    works.clear()


@cache
def _find_gloo_group(group: Any) -> Any:
    """A group of the same processes that sends from the processor; each has threads of its own."""
    if dist.get_backend(group) == "gloo":
        return group
    ranks = dist.get_process_group_ranks(group)
    return dist.new_group(ranks, backend="gloo", use_local_synchronization=True)


def _segments(bounds: list[int]) -> list[tuple[int, int, int]]:
    """Rank, start and stop of each segment that is not empty."""
    return [(r, start, stop) for r, (start, stop) in enumerate(pairwise(bounds)) if start < stop]


def _are_equal(bounds: list[int]) -> bool:
    return all(stop == bounds[1] * rank for rank, stop in enumerate(bounds))
