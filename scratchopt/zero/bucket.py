"""A bucket: parameters whose gradients lie side by side, and are averaged together."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchopt.zero.grouping import Part
from scratchopt.zero.layout import cut_evenly, deal_out
from scratchopt.zero.processes import Processes


class Bucket:
    """Parameters of one group, dtype and device.

    `gradient` is a flat buffer in which gradients are added up over the batches of a step, from the
    first that arrives until they are handed over.

    Args:
        part: the parameters, and whether each must stay whole.
        processes: between which they are cut, or dealt out.
        loads: numbers that each process has of earlier buckets that are dealt out; added to.
    """

    def __init__(self, part: Part, processes: Processes, loads: list[int]) -> None:
        self.parameters, self.whole, self.optimizer = part
        self.processes, self.shapes = processes, [p.shape for p in part.parameters]
        sizes = [p.numel() for p in part.parameters]
        self.layout = deal_out(sizes, loads) if part.whole else cut_evenly(sizes, len(loads))
        self.arrived: set[int] = set()  # in the backward pass under way
        self.forget()

    def forget(self) -> None:
        """Forgets the gradients."""
        self.gradient: Tensor | None = None
        self.own: Tensor | None = None  # this process's segment of their mean, if it stands alone
        self.added = [False] * len(self.parameters)  # of those that are in the buffer
        self.is_reduced = False

    @property
    def trains(self) -> bool:
        """True if any of the parameters requires a gradient."""
        return any(p.requires_grad for p in self.parameters)

    @property
    def is_full(self) -> bool:
        """True if the backward pass under way has brought each gradient that there is to come."""
        missing = (p for i, p in enumerate(self.parameters) if i not in self.arrived)
        return not any(p.requires_grad for p in missing)

    def listen(self, take: Callable[..., None]) -> list[Any]:
        """Has each gradient taken as it comes; also one of a parameter that is thawed later.

        Args:
            take: gets the bucket, the index of the parameter, and the parameter.

        Returns:
            Handles.
        """
        handles = []
        for index, p in enumerate(self.parameters):
            trains = p.requires_grad
            if trains or p.is_floating_point() or p.is_complex():  # else it can't be thawed
                p.requires_grad_(True)  # or torch takes no hook
                handles.append(p.register_post_accumulate_grad_hook(partial(take, self, index)))
                p.requires_grad_(trains)
        return handles

    def add(self, index: int, gradient: Tensor) -> None:
        """Adds a gradient to those of its parameter that are there.

        Raises:
            RuntimeError: a sparse one, or a second one in a backward pass.
        """
        shape = tuple(self.shapes[index])
        if gradient.layout != torch.strided:
            raise RuntimeError(
                f"the gradient of a parameter of shape {shape} is sparse, and can't lie in a "
                "bucket: use an embedding with sparse=False"
            )
        if index in self.arrived:
            raise RuntimeError(
                f"a parameter of shape {shape} got two gradients in one backward pass: use "
                "checkpoint(..., use_reentrant=False)"
            )
        if self.gradient is None:
            self.gradient = gradient.new_zeros(self.layout.length)
        view = self.view(self.gradient, index)
        (view.add_ if self.added[index] else view.copy_)(gradient)
        self.added[index] = True
        self.arrived.add(index)

    def mean(self) -> Tensor:
        """The buffer of gradients, divided by the number of processes, to be added up."""
        if self.gradient is None:  # nothing has come in this process
            self.gradient = self.parameters[0].new_zeros(self.layout.length)
        self.is_reduced = True
        return self.gradient.detach().div_(self.processes.count)

    def view(self, buffer: Tensor, index: int) -> Tensor:
        """A parameter's place in a buffer, with its shape."""
        offset, shape = self.layout.offsets[index], self.shapes[index]
        return buffer[offset : offset + shape.numel()].view(shape)

    def segment(self, buffer: Tensor) -> Tensor:
        """This process's segment of a buffer."""
        rank, bounds = self.processes.rank, self.layout.bounds
        return buffer[bounds[rank] : bounds[rank + 1]]
