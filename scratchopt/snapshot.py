"""Values of parameters, kept while they are away and given back bit for bit."""

from operator import is_

import torch
from torch import Tensor
from torch.nn import Parameter


class Snapshot:
    """Copies of tensors; their memory is used again, since new memory is the slower half of a copy.

    Where autograd is on, it sees the copies.
    """

    def __init__(self) -> None:
        self.full = False
        self._tensors: list[Tensor] = []
        self._copies: list[Tensor] = []

    def take(self, tensors: list[Tensor]) -> None:
        """Keeps what the tensors hold now."""
        known = len(tensors) == len(self._tensors) and all(map(is_, tensors, self._tensors))
        if known and not torch.is_grad_enabled() and all(map(_alike, tensors, self._copies)):
            _copy(self._copies, tensors)
        else:
            self._tensors, self._copies = tensors, [t.clone() for t in tensors]
        self.full = True

    def give_back(self) -> None:
        """Writes it back, if it was not yet."""
        if self.full:
            self.full = False
            with torch.set_grad_enabled(any(copy.requires_grad for copy in self._copies)):
                _copy(self._tensors, self._copies)


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device


def _copy(into: list[Tensor], source: list[Tensor]) -> None:
    if torch.is_grad_enabled() or not {type(t) for t in into} <= {Tensor, Parameter}:
        for to, of in zip(into, source, strict=True):  # a DTensor has no foreach copy
            to.copy_(of)
    elif into:
        torch._foreach_copy_(into, source)
