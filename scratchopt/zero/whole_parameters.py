"""The whole parameters of a model of which each process may have a part."""

from collections import defaultdict
from typing import Any

from torch import Tensor

from scratchopt.zero.stage1 import Stage1


def gather_parameters(stage: Stage1, *, keep: bool = True) -> dict[str, Any]:
    """Gathers parameters and buffers, as the `state_dict()` of a module that nobody shares has it.

    All processes must call it. What is not whole is put together bucket by bucket.

    Args:
        stage: that shares the parameters out.
        keep: whether this process wants it.

    Returns:
        The state of the stage's module, on the CPU what had to be put together; an empty dict where
        it is not kept.

    Raises:
        RuntimeError: not all processes have called it.
    """
    stage.processes.meet("the whole parameters")
    stage.follow_moves()
    names: dict[Tensor, list[str]] = defaultdict(list)
    for name, p in stage.module.named_parameters(remove_duplicate=False):
        names[p].append(name)
    state = stage.module.state_dict()
    for bucket in stage.buckets:
        if bucket.is_whole:
            continue
        bucket.fill()
        for p in bucket.parameters if keep else ():
            whole = p.detach().to("cpu", copy=True)
            state |= {name: whole for name in names[p] if name in state}
        bucket.free()
    return dict(state) if keep else {}
