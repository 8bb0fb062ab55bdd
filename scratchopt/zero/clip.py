"""The norm of a gradient of which each process has pieces, and clipping by it."""

from collections import defaultdict
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_

from scratchopt.second_order.flat import dense_gradient
from scratchopt.zero.data_parallel import DataParallel
from scratchopt.zero.shared_bucket import Shared
from scratchopt.zero.stage1 import Stage1


@torch.no_grad()
def clip_gradients(stage: DataParallel, optimizer: torch.optim.Optimizer, most: float) -> Tensor:
    """Scales an optimizer's gradients so that their 2-norm is `most`, if it is more.

    The norm is computed as `torch.nn.utils.clip_grad_norm_` does, from those of whole tensors, so
    that it is the same to the last bit. A tensor that is cut through is put together for it, one
    at a time. All processes must call it.

    Args:
        stage: whose gradients they are, shared out or not.
        optimizer: one of the stage's.
        most: the norm that is allowed, > 0.

    Returns:
        The norm before, 0-dim.
    """
    pieces = [p for group in optimizer.param_groups for p in group["params"]]
    if not isinstance(stage, Stage1):  # each process has all of each gradient
        return clip_grad_norm_(pieces, most)
    kinds: dict[Any, list[Shared]] = defaultdict(list)
    for shared in chain.from_iterable(stage.shared_of(optimizer)):
        kinds[shared.piece.dtype].append(shared)
    norms = [norm for several in kinds.values() for norm in _norms(several)]
    total = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.tensor(0.0)
    clip_grads_with_norm_(pieces, most, total)
    return total


def _norms(several: list[Shared]) -> list[Tensor]:
    """The norms of gradients of one dtype, those that there are."""
    sent = several[0].piece.new_zeros(2, len(several))
    for i, shared in enumerate(several):
        gradient = shared.piece.grad
        if gradient is not None and gradient.numel():
            sent[1, i] = 1
            sent[0, i] = 0 if shared.is_cut else torch.linalg.vector_norm(gradient)
    norms, flags = several[0].bucket.processes.add_up(sent)
    found = [i for i, flag in enumerate(flags.tolist()) if flag]
    for i in found:
        if several[i].is_cut:  # one after the other, as each is whole then
            whole = several[i].gather(dense_gradient(several[i].piece))
            norms[i] = torch.linalg.vector_norm(whole)
    return [norms[i] for i in found]
