"""The whole parameters of a model of which each process may have a part."""

from collections import OrderedDict, defaultdict
from typing import Any

from torch import Tensor, nn

from scratchopt.zero.stage1 import Stage1
from scratchopt.zero.watch import refuse_pieces


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
    state = _state_of_pieces(stage.module)
    for bucket in stage.buckets:
        if bucket.is_whole:
            continue
        bucket.fill()
        for p in bucket.parameters if keep else ():
            whole = p.detach().to("cpu", copy=True)
            state |= {name: whole for name in names[p] if name in state}
        bucket.free()
    return dict(state) if keep else {}


def _state_of_pieces(module: nn.Module) -> dict[str, Any]:
    """The state of a module, with this process's pieces of what is not whole."""
    hooks = {m: m._state_dict_pre_hooks for m in module.modules()}
    for m, found in hooks.items():
        m._state_dict_pre_hooks = OrderedDict(
            (key, hook) for key, hook in found.items() if hook is not refuse_pieces
        )
    try:
        return module.state_dict()
    finally:
        for m, found in hooks.items():
            m._state_dict_pre_hooks = found
