"""Many tensors as one vector, for methods that look at all parameters together."""

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """Flattens tensors into one vector, shape (n,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vectors: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cuts a vector of shape (n,), or several of shape (k, n), into tensors' shapes.

    Args:
        vectors: what to cut up.
        like: tensors of n numbers in all; of several vectors each piece has k in front of its
            tensor's shape.
    """
    pieces = vectors.split([tensor.numel() for tensor in like], dim=-1)
    return [
        piece.reshape((*vectors.shape[:-1], *tensor.shape))
        for piece, tensor in zip(pieces, like, strict=True)
    ]


def dense_gradient(p: Tensor) -> Tensor:
    """The gradient of p as a strided tensor; zeros, if there is none."""
    if p.grad is None:
        return torch.zeros_like(p)
    return p.grad if p.grad.layout == torch.strided else p.grad.to_dense()


def common_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """The dtype of the vector that tensors are flattened into."""
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
