"""The norm of a gradient of which each process has pieces, and clipping by it."""

from collections import defaultdict
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from scratchopt.zero.shared_bucket import Shared
from scratchopt.zero.stage1 import Stage1


@torch.no_grad()
def clip_gradients(stage: Stage1, optimizer: torch.optim.Optimizer, most: float) -> Tensor:
    """Scales an optimizer's gradients so that their 2-norm is `most`, if it is more.

    The norm is computed as `torch.nn.utils.clip_grad_norm_` does, from those of whole tensors, so
    that it is the same to the last bit. A tensor that is cut through is put together for it. All
    processes must call it.

    Args:
        stage: that shares the gradients out.
        optimizer: one of the stage's.
        most: the norm that is allowed, > 0.

    Returns:
        The norm before, 0-dim.
    """
    kinds: dict[Any, list[Shared]] = defaultdict(list)
    for shared in chain.from_iterable(stage.shared_of(optimizer)):
        kinds[shared.piece.dtype].append(shared)
    norms = [norm for several in kinds.values() for norm in _norms(several)]
    total = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.tensor(0.0)
    pieces = [p for group in optimizer.param_groups for p in group["params"]]
    clip_grads_with_norm_(pieces, most, total)
    return total


def _norms(several: list[Shared]) -> list[Tensor]:
    """The norms of gradients of one dtype, those that there are; by one sum over the processes."""
    count = len(several)
    cut = [shared for shared in several if shared.is_cut]
    first = several[0].piece
    sent = first.new_zeros(2 * count + sum(shared.shape.numel() for shared in cut))
    norms, flags, rest = sent.split([count, count, len(sent) - 2 * count])
    wholes = rest.split([shared.shape.numel() for shared in cut])
    for i, shared in enumerate(several):
        gradient = shared.piece.grad
        if gradient is not None and gradient.numel():
            flags[i] = 1
            if not shared.is_cut:
                norms[i] = torch.linalg.vector_norm(gradient)
    for shared, whole in zip(cut, wholes, strict=True):
        if shared.piece.grad is not None:
            whole[slice(*shared.part)] = shared.piece.grad
    several[0].bucket.processes.add_up(sent)
    for shared, whole in zip(cut, wholes, strict=True):
        norms[several.index(shared)] = torch.linalg.vector_norm(whole)
    return [norm for norm, flag in zip(norms.unbind(), flags.tolist(), strict=True) if flag]
