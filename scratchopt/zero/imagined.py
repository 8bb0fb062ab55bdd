"""Processes that are not there, for whoever asks what each would have."""

from collections import Counter
from typing import Any

from torch import Tensor

from scratchopt.zero.processes import Processes, Works


class Imagined(Processes):
    """One of some processes of which none is there: nothing is sent.

    With it a stage can be made of a module on torch's meta device, and has the layouts and pieces
    that the process would have.

    Args:
        rank: of the process.
        count: of all of them.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.group, self.rank, self.count = None, rank, count
        self.traffic = Counter()

    def all_reduce(self, buffer: Tensor, *, is_other: bool = False) -> Works:
        """Adds up nothing."""
        return []

    def reduce_scatter(self, buffer: Tensor, bounds: list[int]) -> Works:
        """Adds up nothing."""
        return []

    def all_gather(self, buffer: Tensor, bounds: list[int]) -> Works:
        """Gathers nothing."""
        return []

    def gather_objects(self, own: Any) -> list[Any]:
        """Gathers what is there."""
        return [own]

    def send_from_first(self, tensors: list[Tensor]) -> None:
        """Sends nothing."""
