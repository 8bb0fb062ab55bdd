"""Values of parameters, kept while they are away and given back bit for bit."""

from collections.abc import Container

import torch
from torch import Tensor
from torch.nn import Parameter


class Snapshot:
    """Memory for the values of tensors, used again in each step, as new memory is slower.

    Where autograd is on, it sees the copies.

    Args:
        tensors: whose values are kept.
        one_by_one: whether others write the copies in place of `take`, and each tensor may have
            changed before the next is copied; the first then has what two share.
    """

    def __init__(self, tensors: list[Tensor], one_by_one: bool = False) -> None:
        self.tensors, self.one_by_one = tensors, one_by_one
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
            rows = [(t, c) for t, c in zip(tensors, copies, strict=True) if id(t) not in but]
            tensors, copies = [t for t, _ in rows], [c for _, c in rows]
        with torch.set_grad_enabled(any(copy.requires_grad for copy in copies)):
            if self.one_by_one:
                _copy_each(tensors[::-1], copies[::-1])
            else:
                _copy(tensors, copies)


def _copy(into: list[Tensor], source: list[Tensor]) -> None:
    if torch.is_grad_enabled() or not {type(t) for t in into} <= {Tensor, Parameter}:
        _copy_each(into, source)  # a DTensor has no foreach copy
    elif into:
        torch._foreach_copy_(into, source)


def _copy_each(into: list[Tensor], source: list[Tensor]) -> None:
    for to, of in zip(into, source, strict=True):
        to.copy_(of)
