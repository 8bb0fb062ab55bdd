"""The whole state of an optimizer of which each process has a part, as one process has it."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor

from scratchopt.zero.data_parallel import DataParallel
from scratchopt.zero.part_of_state import load_part
from scratchopt.zero.shared_bucket import Shared, SharedBucket
from scratchopt.zero.stage1 import Stage1


def gather_state(
    stage: DataParallel, optimizer: torch.optim.Optimizer, *, keep: bool = True
) -> dict[str, Any]:
    """Gathers the state of an optimizer, as the `state_dict()` of a single process has it.

    All processes must call it. It goes bucket by bucket, so that a process that keeps nothing has
    no more than a bucket's at a time.

    Args:
        stage: whose optimizer it is.
        optimizer: one of the stage's.
        keep: whether this process wants it.

    Returns:
        `state`, on the CPU, and `param_groups`, with the parameters numbered in the order of the
        groups; an empty dict where it is not kept.

    Raises:
        RuntimeError: not all processes have called it.
    """
    stage.processes.meet("the whole state of an optimizer")
    if not isinstance(stage, Stage1):  # each process has all of it
        return optimizer.state_dict() if keep else {}
    parts = stage.shared_of(optimizer)
    numbers = {shared: i for i, shared in enumerate(chain.from_iterable(parts))}
    state: dict[int, dict[str, Any]] = {}
    for bucket in stage.buckets:
        if bucket.optimizer is optimizer:
            for shared, values in _gather_bucket(bucket, optimizer, keep):
                state[numbers[shared]] = values
    groups, left = optimizer.state_dict()["param_groups"], iter(range(len(numbers)))
    for group, parameters in zip(groups, parts, strict=True):
        group["params"] = [next(left) for _ in parameters]
    return {"state": dict(sorted(state.items())), "param_groups": groups} if keep else {}


def load_state(
    stage: DataParallel, optimizer: torch.optim.Optimizer, whole: dict[str, Any]
) -> None:
    """Loads this process's part of a whole state; each process does so by itself.

    Args:
        stage: whose optimizer it is.
        optimizer: one of the stage's.
        whole: a `state_dict()` of a single process, or what `gather_state` returned.

    Raises:
        ValueError: the state of another method, or of other groups.
    """
    if isinstance(stage, Stage1):
        load_part(optimizer, stage.shared_of(optimizer), whole)
    else:
        optimizer.load_state_dict(whole)


def _gather_bucket(
    bucket: SharedBucket, optimizer: torch.optim.Optimizer, keep: bool
) -> list[tuple[Shared, dict[str, Any]]]:
    """The state of each parameter of a bucket that has one."""
    own = {}
    for index, piece in enumerate(bucket.pieces):
        if piece in optimizer.state:
            start, _ = bucket.layout.part(index, bucket.processes.rank)
            own[index] = start, {k: _to_cpu(v) for k, v in optimizer.state[piece].items()}
    parts = bucket.processes.gather_objects(own)
    if not keep:
        return []
    return [
        (Shared(bucket, index), _join(held, bucket.shapes[index], bucket.whole))
        for index in range(len(bucket.pieces))
        if (held := [part[index] for part in parts if index in part])
    ]


def _join(held: list[tuple[int, dict[str, Any]]], shape: torch.Size, whole: bool) -> dict[str, Any]:
    """Joins the parts of a parameter's state; a number is the same in all of them."""
    _, first = held[0]
    if whole:
        return first
    joined = dict(first)
    for key, value in first.items():
        if isinstance(value, Tensor) and value.dim():
            joined[key] = torch.cat([values[key] for _, values in sorted(held, key=_start)])
            joined[key] = joined[key].view(shape)
    return joined


def _start(part: tuple[int, Any]) -> int:
    return part[0]


def _to_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value
