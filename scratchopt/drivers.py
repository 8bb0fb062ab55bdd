"""Drivers: the ways to run one rule over many tensors. Each leaves the same parameters and state.

`update(p, g, *buffers, **numbers)` is a rule with what the base class puts before it. It is given
Vectors, or plain tensors, and works on either.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import is_
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scratchopt.vector import Vector

Update: TypeAlias = Callable[..., None]
Numbers: TypeAlias = dict[str, Any]
Driver: TypeAlias = Callable[[Update, "Bucket", list[Tensor], Numbers], None]

SMALL = 2**16  # elements: below it a call costs more than the arithmetic, so they share one


@dataclass
class Bucket:
    """Parameters of one device, dtype and age, with their state.

    Args:
        params: the parameters.
        states: the state of each, a dict.
        keys: of the buffers in it, in the rule's order.
        pack: of its small tensors; see `scratchopt.compiled`.
    """

    params: list[Tensor]
    states: list[dict[str, Any]]
    keys: tuple[str, ...]
    pack: Any = field(default=None, repr=False)
    _steps: Tensor | None = field(default=None, repr=False)
    _views: list[Tensor] = field(default_factory=list, repr=False)

    def count(self, as_tensor: bool) -> Any:
        """Counts a step; its number, which a CUDA graph or autograd wants as a tensor.

        The steps of all parameters are views of one tensor, so that it is one addition.
        """
        steps = [state["step"] for state in self.states]
        if self._steps is None or not all(map(is_, steps, self._views)):
            self._steps = torch.stack(steps)
            self._views = list(self._steps.unbind())
            for state, view in zip(self.states, self._views, strict=True):
                state["step"] = view
        self._steps += 1
        return self._views[0] if as_tensor else self._views[0].item()

    def columns(self, grads: list[Tensor]) -> list[list[Tensor]]:
        """Parameters, gradients, and each kind of buffer; complex ones as pairs of real numbers."""
        columns = [self.params, grads, *([s[key] for s in self.states] for key in self.keys)]
        if self.params[0].is_complex():
            return [[torch.view_as_real(tensor) for tensor in column] for column in columns]
        return columns


def together(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """All tensors in one foreach call an operation."""
    update(*map(Vector, bucket.columns(grads)), **numbers)


def one_by_one(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """Each tensor by itself: its temporaries are still in the cache when they are used."""
    for row in zip(*bucket.columns(grads), strict=True):
        update(*(Vector([tensor]) for tensor in row), **numbers)


def by_size(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """Small tensors together, large ones one by one."""
    rows = list(zip(*bucket.columns(grads), strict=True))
    small = [row for row in rows if row[0].numel() < SMALL]
    if small:
        update(*(Vector(list(column)) for column in zip(*small, strict=True)), **numbers)
    for row in rows:
        if row[0].numel() >= SMALL:
            update(*(Vector([tensor]) for tensor in row), **numbers)


def traced(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """Plain tensors, one by one, so that autograd or a CUDA graph sees every operation.

    For autograd the state gets new tensors: it may need the old ones for a derivative.
    """
    for state, (p, g, *buffers) in zip(
        bucket.states, zip(*bucket.columns(grads), strict=True), strict=True
    ):
        if torch.is_grad_enabled():
            buffers = [buffer.clone() for buffer in buffers]
            for key, buffer in zip(bucket.keys, buffers, strict=True):
                state[key] = torch.view_as_complex(buffer) if state[key].is_complex() else buffer
        update(p, g, *buffers, **numbers)
