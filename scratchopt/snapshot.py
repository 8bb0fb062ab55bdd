"""Values of parameters, kept while they are away and given back bit for bit."""

from collections.abc import Container

import torch
from torch import Tensor
from torch.nn import Parameter


class Snapshot:
    """Memory for the values of tensors; used again and again, it is faster than new memory.

    Where autograd is on, it sees the copies.

    Args:
        tensors: whose values are kept.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors
        self.copies = [torch.empty_like(t) for t in tensors]

    def take(self) -> None:
        """Keeps what the tensors hold now."""
        _copy(self.copies, self.tensors)

    def give_back(self, but: Container[int] = ()) -> None:
        """Writes it back.

        Args:
            but: ids of tensors that are left as they are.
        """
        tensors, copies = self.tensors, self.copies
        if but:
            pairs = [(t, c) for t, c in zip(tensors, copies, strict=True) if id(t) not in but]
            tensors, copies = [t for t, _ in pairs], [c for _, c in pairs]
        with torch.set_grad_enabled(any(copy.requires_grad for copy in copies)):
            _copy(tensors, copies)


def _copy(into: list[Tensor], source: list[Tensor]) -> None:
    if torch.is_grad_enabled() or not {type(t) for t in into} <= {Tensor, Parameter}:
        for to, of in zip(into, source, strict=True):  # a DTensor has no foreach copy
            to.copy_(of)
    elif into:
        torch._foreach_copy_(into, source)
