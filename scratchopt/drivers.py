"""Drivers: the ways to run one rule over many tensors. Each leaves the same parameters and state.

`update(p, g, *buffers, **numbers)` is a rule with what the base class puts before it. It is given
Vectors, or plain tensors, and works on either.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scratchopt.plan import Bucket
from scratchopt.vector import Vector

Update: TypeAlias = Callable[..., None]
Numbers: TypeAlias = dict[str, Any]
Columns: TypeAlias = list[list[Tensor]]
Driver: TypeAlias = Callable[[Update, Bucket, list[Tensor], Numbers], None]

# A sum of two numbers of the first dtype is worked on as one number of the second.
WIDER = {
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}


def together(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """All tensors in one foreach call an operation."""
    _run(update, bucket, bucket.columns(grads), numbers)


def one_by_one(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """Each tensor by itself: its temporaries are still in the cache when they are used."""
    for row in zip(*bucket.columns(grads), strict=True):
        _run(update, bucket, [[tensor] for tensor in row], numbers)


def by_size(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """As many tensors together as suit the cache; a large one by itself."""
    columns = bucket.columns(grads)
    for part in bucket.parts:
        _run(update, bucket, [column[part] for column in columns], numbers)


def traced(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """Plain tensors, one by one, so that autograd or a CUDA graph sees every operation.

    For autograd the state gets new tensors: it may need the old ones for a derivative.
    """
    steps = numbers.get("t", bucket.params)
    rows = zip(*bucket.columns(grads), strict=True)
    for state, step, (p, g, *buffers) in zip(bucket.states, steps, rows, strict=True):
        if torch.is_grad_enabled():
            buffers = [buffer.clone() for buffer in buffers]
            for key, buffer in zip(bucket.recipe.keys, buffers, strict=True):
                state[key] = torch.view_as_complex(buffer) if state[key].is_complex() else buffer
        own = numbers | {"t": step} if "t" in numbers else numbers
        if bucket.recipe.compensated:
            with_wider(lambda *wide, own=own: update(*wide, **own), [p, g, *buffers])
        else:
            update(p, g, *buffers, **own)


def _run(update: Update, bucket: Bucket, columns: Columns, numbers: Numbers) -> None:
    if bucket.recipe.compensated:
        with_wider(lambda *wide: update(*map(Vector, wide), **numbers), columns)
    else:
        update(*map(Vector, columns), **numbers)


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
    wide = [
        _map(lambda h, l: h.to(WIDER[h.dtype]) + l, h, l) for h, l in zip(highs, lows, strict=True)
    ]
    work(wide[0], _map(lambda t: t.to(WIDER[t.dtype]), g), *wide[1:])
    for high, low, sums in zip(highs, lows, wide, strict=True):
        _map(lambda h, s: h.copy_(s), high, sums)
        _map(lambda h, l, s: l.copy_(s - h), high, low, sums)


def _map(function: Callable[..., Any], *arguments: Any) -> Any:
    if isinstance(arguments[0], Tensor):
        return function(*arguments)
    return [function(*tensors) for tensors in zip(*arguments, strict=True)]
