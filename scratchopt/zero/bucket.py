"""A bucket: parameters whose gradients lie side by side, and are averaged together."""

import torch
from torch import Tensor
from torch.nn import Parameter

from scratchopt.zero.layout import Layout
from scratchopt.zero.processes import Processes


class Bucket:
    """Parameters of one group, dtype and device.

    `gradient` is a flat buffer in which gradients are added up over the batches of a step, from the
    first that arrives until they are handed over.

    Args:
        parameters: of one dtype and device.
        layout: of them in the buffer.
        processes: between which the layout is cut.
        whole: whether it is cut between tensors, and never through one.
    """

    def __init__(
        self, parameters: list[Parameter], layout: Layout, processes: Processes, whole: bool
    ) -> None:
        self.parameters, self.layout = parameters, layout
        self.processes, self.whole = processes, whole
        self.shapes = [p.shape for p in parameters]
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
