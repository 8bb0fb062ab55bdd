"""Drivers: the ways to run one rule over many tensors. All but the compiled agree to the bit.

`update(p, g, *buffers, **numbers)` is a rule with what the base class puts before it. It is given
Vectors, or plain tensors, and works on either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import Parameter

from scratchopt.engine.buckets import Bucket
from scratchopt.engine.vector import Vector

if TYPE_CHECKING:
    from scratchopt.engine.update import Recipe

Update: TypeAlias = Callable[..., None]
Numbers: TypeAlias = dict[str, Any]
Columns: TypeAlias = list[list[Tensor]]
Driver: TypeAlias = Callable[[Update, Bucket, list[Tensor], Numbers], None]

# A sum of two numbers of the first dtype is worked on as one number of the second. float16 is not
# among them: where squares of gradients fall below its least number, no second number helps.
WIDER = {
    torch.bfloat16: torch.float32,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}


READS_G = "a rule must leave g as it is: write `d = lr * g` in place of `g *= lr`"


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
        with _watched([p, g, *buffers[: len(bucket.recipe.keys)]], bucket):
            if bucket.recipe.compensated:
                with_wider(lambda *wide, own=own: update(*wide, **own), [p, g, *buffers])
            else:
                update(p, g, *buffers, **own)


def _run(update: Update, bucket: Bucket, columns: Columns, numbers: Numbers) -> None:
    if not bucket.proven:
        firsts = [column[0] for column in columns[: 2 + len(bucket.recipe.keys)]]
        with _watched(firsts, bucket):
            _apply(update, bucket, columns, numbers)
    else:
        _apply(update, bucket, columns, numbers)


def _apply(update: Update, bucket: Bucket, columns: Columns, numbers: Numbers) -> None:
    if bucket.recipe.compensated:
        with_wider(lambda *wide: update(*_vectors(wide), **numbers), columns)
    else:
        update(*_vectors(columns), **numbers)


class _Gradient(Vector):
    """g, which is not a rule's to write into."""

    def _write(self, name: str, *arguments: Any, **options: float) -> Vector:
        raise RuntimeError(READS_G)


def _vectors(columns: Sequence[list[Tensor]]) -> list[Vector]:
    p, g, *buffers = columns
    named = [Vector(column, role="named") for column in (p, *buffers)]
    return [named[0], _Gradient(g), *named[1:]]


@contextmanager
def _watched(row: list[Tensor], bucket: Bucket) -> Iterator[None]:
    """Sees, at the first step, that a rule changes p and its buffers in place, and never g."""
    seen = not bucket.proven and all(type(t) in (Tensor, Parameter) for t in row)
    before = [t._version for t in row] if seen else []
    yield
    if not seen or row[0].numel() == 0:  # a DTensor has another one's version
        return
    bucket.proven = True
    refuse_unlawful(bucket.recipe, [t._version != v for t, v in zip(row, before, strict=True)])


def refuse_unlawful(recipe: Recipe, changed: list[bool]) -> None:
    """Raises if a rule leaves alone what it should change in place, or the other way round.

    Args:
        recipe: of the rule.
        changed: whether p, g and each buffer were changed.

    Raises:
        RuntimeError: says which.
    """
    for name, is_changed in zip(("p", "g", *recipe.keys), changed, strict=True):
        if name == "g" and is_changed:
            raise RuntimeError(READS_G)
        if name != "g" and not is_changed:
            raise RuntimeError(
                f"a rule must change {name} in place, as in `m *= 0.9; m += g`; this one has not"
            )


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
