"""The places of parameters in a flat buffer, and the cuts between the processes' segments."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

_ALIGNED = 8  # numbers: 16 bytes or more


class Layout(NamedTuple):
    """Places in a flat buffer, in numbers.

    Args:
        offsets: where each tensor begins.
        sizes: of each tensor.
        bounds: where each process's segment begins, and last the length of the buffer.
    """

    offsets: list[int]
    sizes: list[int]
    bounds: list[int]

    @property
    def length(self) -> int:
        """Numbers in the buffer."""
        return self.bounds[-1]

    @property
    def padding(self) -> int:
        """Numbers in the buffer that are no tensor's."""
        return self.length - sum(self.sizes)

    def part(self, index: int, rank: int) -> tuple[int, int]:
        """Start and stop, counted in a tensor, of what a process has of it; equal, if nothing."""
        offset, size = self.offsets[index], self.sizes[index]
        start = min(max(self.bounds[rank] - offset, 0), size)
        return start, max(start, min(self.bounds[rank + 1] - offset, size))


def cut_evenly(sizes: Sequence[int], processes: int) -> Layout:
    """Lays tensors in a row and cuts it into equal segments, through the tensors.

    So there are fewer numbers of padding, at the end, than there are processes.

    >>> layout = cut_evenly([35, 7], 4)
    >>> layout.bounds, layout.padding
    ([0, 11, 22, 33, 44], 2)
    >>> layout.part(0, 3), layout.part(1, 3)
    ((33, 35), (0, 7))
    """
    segment = -(-sum(sizes) // processes)
    bounds = [rank * segment for rank in range(processes + 1)]
    return Layout(_add_up(sizes), list(sizes), bounds)


def deal_out(sizes: Sequence[int], loads: list[int]) -> Layout:
    """Gives each tensor, whole, to the process that has least by then, the largest first.

    Segments are as long as they come out. Tensors begin at multiples of 8 numbers, for a product
    of matrices may depend on where they lie; that is all the padding.

    Args:
        sizes: of the tensors.
        loads: numbers that each process has already; these are added.

    >>> deal_out([60, 20, 30], [0, 0])
    Layout(offsets=[0, 96, 64], sizes=[60, 20, 30], bounds=[0, 64, 120])
    """
    before = list(loads)
    room = [-(-size // _ALIGNED) * _ALIGNED for size in sizes]
    owned: list[list[int]] = [[] for _ in loads]
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        owner = loads.index(min(loads))
        owned[owner].append(index)
        loads[owner] += room[index]
    order = [index for indices in owned for index in indices]
    places = dict(zip(order, _add_up([room[i] for i in order]), strict=True))
    grown = [after - start for after, start in zip(loads, before, strict=True)]
    return Layout([places[i] for i in range(len(sizes))], list(sizes), [*_add_up(grown), sum(room)])


def _add_up(sizes: Sequence[int]) -> list[int]:
    """Adds up sizes: the place where each part begins, if they lie in a row."""
    return [0, *accumulate(sizes)][: len(sizes)]
