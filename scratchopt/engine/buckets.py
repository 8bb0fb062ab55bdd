"""Buckets: parameters that one call serves, with their state and the count of their steps."""

from itertools import pairwise
from operator import is_
from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.program import Program
from scratchopt.engine.stale_products import suits_lists
from scratchopt.engine.update import Update

# Elements. A list of up to so many is updated faster at once than tensor by tensor; in a longer
# one, each operation finds the cache full of what the others left.
TOGETHER = 2**21


class Bucket:
    """Parameters of one group, device, dtype and age, with their state.

    Args:
        params: the parameters.
        states: the state of each.
        update: what is done to them.
        programs: its rule as it was read.
        kept: where p is to be read, if that is not where it is written.
    """

    def __init__(
        self,
        params: list[Tensor],
        states: list[dict[str, Any]],
        update: Update,
        programs: list[Program],
        kept: list[Tensor],
    ) -> None:
        self.params, self.states, self.update, self.kept = params, states, update, kept
        self.programs = [p.reading_from_last() for p in programs] if kept else programs
        self.in_lists = all(map(suits_lists, programs))
        self.keys, self.device = update.all_keys, params[0].device
        self.parts = _parts(params, update.options.foreach)
        self.is_plain = False  # whether all tensors were seen to be plain ones; and
        self.kernel: Any = None  # the compiled driver's, with the arithmetic of its factors
        self.layout: Any = None  # where the tensors lie; see `scratchopt.engine.c_kernel`
        self._steps: list[Tensor] = []
        if update.counts_alike:  # in one tensor, so that one addition counts for all
            self._all = torch.stack([state["step"] for state in states])
            self._version, self._count = self._all._version, self._all[0].item()
            self._steps = list(self._all.unbind())
            for state, step in zip(states, self._steps, strict=True):
                state["step"] = step

    @property
    def undisturbed(self) -> bool:
        """True if the parameters are still where they were, and nobody else has changed a step."""
        if self.device != self.params[0].device:
            return False
        if not self._steps:
            return True
        steps = [state["step"] for state in self.states]
        return all(map(is_, steps, self._steps)) and self._all._version == self._version

    def count(self, steps: int = 1) -> Any:
        """Counts a step, or takes one back; its number, or a tensor for each parameter."""
        if self.update.takes_tensors:
            tensors = [state["step"] for state in self.states]
            torch._foreach_add_(tensors, steps)
            return tensors
        self._all += steps
        self._version, self._count = self._all._version, self._count + steps
        return self._count

    def columns(self, grads: list[Tensor]) -> list[list[Tensor]]:
        """Parameters, gradients, each kind of buffer, the compensations, and what was kept.

        Complex numbers are seen as pairs of real ones.
        """
        buffers = ([state[key] for state in self.states] for key in self.keys)
        columns = [self.params, grads, *buffers, *([self.kept] if self.kept else [])]
        if self.params[0].is_complex():
            columns[1] = [g.resolve_conj() for g in grads]
            return [[torch.view_as_real(t) for t in column] for column in columns]
        return columns


def _parts(params: list[Tensor], foreach: bool | None) -> list[slice]:
    """Slices of the list that are worth one call each.

    With foreach=True that is the whole list, with False each tensor, whose temporaries are then
    still in the cache when they are used. With None as many tensors go together as suit the cache,
    and on a GPU all.
    """
    if foreach is False:
        return [slice(i, i + 1) for i in range(len(params))]
    ends, total = [], 0
    by_size = foreach is None and params[0].device.type == "cpu"
    for i, p in enumerate(params if by_size else ()):
        if total and total + p.numel() > TOGETHER:
            ends.append(i)
            total = 0
        total += p.numel()
    return [slice(start, end) for start, end in zip([0, *ends], [*ends, None], strict=True)]


def are_disjoint(tensors: list[Tensor]) -> bool:
    """True if no two of the tensors share memory."""
    spans = sorted((t.data_ptr(), t.data_ptr() + _extent(t)) for t in tensors if t.numel())
    return all(a[1] <= b[0] for a, b in pairwise(spans))


def _extent(tensor: Tensor) -> int:
    """Bytes from the first element to the end of the last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return (sum((size - 1) * stride for size, stride in steps) + 1) * tensor.element_size()
