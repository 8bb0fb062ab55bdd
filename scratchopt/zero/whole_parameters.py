"""The whole parameters of a model of which each process may have a part."""

from collections import defaultdict
from typing import Any

from torch import Tensor, nn

from scratchopt.zero.data_parallel import DataParallel
from scratchopt.zero.stage1 import Stage1


def gather_parameters(stage: DataParallel, *, keep: bool = True) -> dict[str, Any]:
    """Gathers parameters and buffers, as the `state_dict()` of a module that nobody shares has it.

    All processes must call it. What is not whole is put together bucket by bucket.

    Args:
        stage: whose model it is.
        keep: whether this process wants it.

    Returns:
        The state of the stage's module, on the CPU what had to be put together; an empty dict where
        it is not kept.

    Raises:
        RuntimeError: not all processes have called it.
    """
    stage.processes.meet("the whole parameters")
    if not isinstance(stage, Stage1):  # each process has all of them
        return stage.module.state_dict() if keep else {}
    stage.follow_moves()
    names: dict[Tensor, list[str]] = defaultdict(list)
    for name, p in stage.module.named_parameters(remove_duplicate=False):
        names[p].append(name)
    state = stage.module.state_dict(keep_vars=True)  # with pieces, not refused
    state = {k: v.detach() if isinstance(v, Tensor) else v for k, v in state.items()}
    for bucket in stage.buckets:
        if bucket.is_whole:
            continue
        bucket.fill()
        for p in bucket.parameters if keep else ():
            whole = p.detach().to("cpu", copy=True)
            state |= {name: whole for name in names[p] if name in state}
        bucket.free()
    return state if keep else {}


def refuse_pieces(module: nn.Module, prefix: str, keep_vars: bool) -> None:
    """Refuses a `state_dict()` that would have this process's pieces in place of the parameters.

    Raises:
        RuntimeError: parameters are not whole, and `keep_vars=True` does not ask for what there is.
    """
    shared = (vars(p)["shared"] for p in module.parameters() if "shared" in vars(p))
    if not keep_vars and not all(each.bucket.is_whole for each in shared):
        raise RuntimeError(
            f"{type(module).__name__} has only this process's pieces of its parameters: for all of "
            "them let all processes call scratchopt.zero.gather_parameters(stage), or state_dict() "
            "within `with stage.whole():`"
        )
