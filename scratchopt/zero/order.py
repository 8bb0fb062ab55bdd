"""The order in which processes gather units, which must be the same in all of them."""

import torch

from scratchopt.zero.processes import Processes

_PRIME = 1_000_003


class Order:
    """Notices that processes gather different units, of which each would get the other's numbers.

    Args:
        processes: that gather together.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes, self._seen = processes, 0

    def note(self, unit: int) -> None:
        """Notes that a unit is to be whole."""
        self._seen = (31 * self._seen + unit + 1) % _PRIME

    def check(self, device: torch.device) -> None:
        """Compares what all processes have noted; all must call it.

        Raises:
            RuntimeError: it differs.
        """
        seen = torch.tensor([self._seen], dtype=torch.int64, device=device)
        if self._processes.add_up(seen).item() != self._processes.count * self._seen:
            raise RuntimeError(
                f"process {self._processes.rank} ran the model's units in another order than the "
                "others, or ran others: let chance and data choose the same in all processes, or "
                "use strategy='zero2' (accelerator=zero2)"
            )
