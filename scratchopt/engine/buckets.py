"""Buckets: parameters that one call serves, with their state and the count of their steps."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.program import Program
from scratchopt.engine.shared_number import SharedNumber
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
        self._shared = {key: SharedNumber(key, states) for key in update.shared_numbers}
        self._step = self._shared.get("step")
        self._kept = [number for key, number in self._shared.items() if key != "step"]

    @property
    def undisturbed(self) -> bool:
        """True if the parameters are still where they were, and nobody else has changed a step."""
        if self.device != self.params[0].device:
            return False
        if self._step is not None and not self._step.is_undisturbed():
            return False
        return not self._kept or all(map(SharedNumber.is_undisturbed, self._kept))

    def count(self, steps: int = 1) -> Any:
        """Counts a step, or takes one back; its number, or a tensor for each parameter."""
        if self._step is not None:
            return self._step.add(steps)
        tensors = [state["step"] for state in self.states]
        torch._foreach_add_(tensors, steps)
        return tensors

    def kept_numbers(self) -> dict[str, Tensor]:
        """The numbers that the method keeps, where one is all parameters'."""
        return {name: self._shared[name].first for name in self.update.kept_numbers}

    def as_kept(self, name: str, value: Any) -> Tensor:
        """A number that the method has made, as it will be kept."""
        return torch.as_tensor(value, dtype=self._shared[name].first.dtype)

    def keep(self, numbers: dict[str, Any]) -> None:
        """Keeps numbers in the state, each of all parameters or a list with one of each."""
        for name, value in numbers.items():
            if name in self._shared:
                self._shared[name].write(value)
                continue
            for state, own in zip(self.states, value, strict=True):
                old = state[name]
                new = torch.as_tensor(own, dtype=old.dtype, device=old.device)
                if self.update.options.differentiable:  # autograd may need the old one
                    state[name] = new
                else:
                    old.copy_(new)

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
