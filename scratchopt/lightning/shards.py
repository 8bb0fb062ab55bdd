"""Shards: what each process has of parameters that FSDP2 or ZeRO shares out."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from scratchopt.second_order.flat import dense_gradient
from scratchopt.zero.processes import Processes


def shape_of(p: Any) -> torch.Size:
    """The shape of a whole parameter."""
    return p.shared.shape if hasattr(p, "shared") else p.shape


def shard_of(p: Any) -> Tensor:
    """The part of a parameter that this process updates: its piece, or all; a DTensor stays one."""
    return p.shared.piece if hasattr(p, "shared") else p


def full_tensor(tensor: Any) -> Tensor:
    """Puts a tensor together where each process has a shard of it; all processes must call it."""
    if hasattr(tensor, "shared"):
        return tensor.shared.gather(tensor.shared.piece)
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def has_gradient(p: Any) -> bool:
    """True if a parameter has a gradient, in any process; all processes must call it."""
    if hasattr(p, "shared"):
        piece = p.shared.piece
        return p.shared.bucket.processes.find_any([piece.grad is not None], piece.device)[0]
    return p.grad is not None


def full_gradient(p: Any) -> Tensor:
    """The whole gradient of a parameter, zeros if there is none; all processes must call it."""
    if hasattr(p, "shared"):
        return p.shared.gather(dense_gradient(p.shared.piece))
    return full_tensor(dense_gradient(p))


def is_counted(p: Any, sharers: Processes | None) -> bool:
    """True if this process adds a parameter to a sum; what all have whole, the first alone adds."""
    return sharers is None or hasattr(p, "shared") or sharers.rank == 0


def are_sharded(parameters: Iterable[Any]) -> bool:
    """True if a process has shards of some parameters, and not all of them whole."""
    return any(hasattr(p, "shared") or isinstance(p, DTensor) for p in parameters)


def find_sharers(parameters: Iterable[Any]) -> Processes | None:
    """The processes that have pieces of some parameters, if they are shared out."""
    found = (p.shared.bucket.processes for p in parameters if hasattr(p, "shared"))
    return next(found, None)
