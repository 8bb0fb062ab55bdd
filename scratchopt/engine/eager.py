"""Eager drivers: two ways to run an update over the tensors of a bucket, which agree to the bit.

The update is given Vectors, which are lists of tensors, or plain tensors, and works on either.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scratchopt.engine.buckets import Bucket
from scratchopt.engine.kept_vector import KeptVector
from scratchopt.engine.sparse_rows import take_sparse_rows
from scratchopt.engine.update import Numbers, Update, of_each
from scratchopt.engine.vector import Vector

Columns: TypeAlias = list[list[Tensor]]

# A sum of two numbers of the first dtype is worked on as one number of the second. float16 is not
# among them: where squares of gradients fall below its least number, no second number helps.
WIDER = {
    torch.bfloat16: torch.float32,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}


def lists(bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """One foreach call an operation, for each part of the bucket's list."""
    columns = bucket.columns(grads)
    for part in bucket.parts:
        _run(bucket, [column[part] for column in columns], numbers)


def plain_tensors(bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """Plain tensors, one by one, so that autograd or a CUDA graph sees every operation.

    For autograd the state gets new tensors: it may need the old ones for a derivative.
    """
    update, each = bucket.update, of_each(numbers, len(grads))
    rows = zip(*bucket.columns(grads), strict=True)
    for state, own, (p, g, *buffers) in zip(bucket.states, each, rows, strict=True):
        if torch.is_grad_enabled():
            buffers = [buffer.clone() for buffer in buffers]
            for key, buffer in zip(update.keys, buffers, strict=True):
                state[key] = torch.view_as_complex(buffer) if state[key].is_complex() else buffer
        _run_one(update, [p, g, *buffers], own)


def _run(bucket: Bucket, columns: Columns, numbers: Numbers) -> None:
    update, kept = bucket.update, columns.pop() if bucket.kept else []
    if not bucket.in_lists and columns[1][0].layout == torch.strided:
        if kept:
            torch._foreach_copy_(columns[0], kept)
        for row in zip(*columns, strict=True):
            _run_one(update, list(row), numbers)
    elif update.options.compensated:
        with_wider(lambda *wide: update.apply(*_vectors(wide), **numbers), columns)
    else:
        p, *others = _vectors(columns)
        update.apply(KeptVector(kept, columns[0]) if kept else p, *others, **numbers)


def _run_one(update: Update, row: list[Tensor], numbers: Numbers) -> None:
    if update.options.compensated:
        with_wider(lambda *wide: update.apply(*wide, **numbers), row)
    else:
        update.apply(*row, **numbers)


def _vectors(columns: Sequence[list[Tensor]]) -> list[Vector]:
    p, g, *buffers = columns
    if g[0].layout != torch.strided:
        return take_sparse_rows(list(columns))
    named = [Vector(column, role="named") for column in (p, *buffers)]
    return [named[0], Vector(g), *named[1:]]


def with_wider(work: Callable[..., None], columns: list[Any]) -> None:
    """Lets `work` change sums of two tensors as if each sum were one tensor of a wider dtype.

    This is Kahan's compensated summation: what does not fit into a number is kept in a second one
    and takes part in the next step. (W. Kahan, "Further remarks on reducing truncation errors",
    Communications of the ACM 8, 1965.)

    Args:
        work: takes p, g and the buffers, each a tensor or a list of them, as given.
        columns: p, g, the buffers, then the compensations of p and of the buffers.
    """
    p, g, *rest = columns
    count = len(rest) // 2
    highs, lows = [p, *rest[:count]], rest[count:]
    wide = [_map(lambda h, l: widen(h) + l, h, l) for h, l in zip(highs, lows, strict=True)]
    work(wide[0], _map(widen, g), *wide[1:])
    for high, low, sums in zip(highs, lows, wide, strict=True):
        _map(lambda h, s: h.copy_(s), high, sums)
        _map(lambda h, l, s: l.copy_(s - h), high, low, sums)


def widen(tensor: Tensor) -> Tensor:
    """A tensor in the precision of compensated sums, or as it is where there is none wider."""
    return tensor.to(WIDER.get(tensor.dtype, tensor.dtype))


def _map(function: Callable[..., Any], *arguments: Any) -> Any:
    if isinstance(arguments[0], Tensor):
        return function(*arguments)
    return [function(*tensors) for tensors in zip(*arguments, strict=True)]
