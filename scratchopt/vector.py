"""Vector: many tensors, and one number that multiplies them all, as if they were one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Vector:
    """A list of tensors times a number.

    A product with a number only changes that number. The sum it stands in then does all the work
    in one call, as in BLAS axpy: `p -= lr * g` is `torch._foreach_add_(p, g, alpha=-lr)`. This is
    also what torch's own optimizers compute, rounding included.

    Args:
        tensors: of any shapes; in-place operators write into them.
        factor: the number. In-place operators want it to be 1 on the left.
    """

    __slots__ = ("factor", "tensors")

    def __init__(self, tensors: Sequence[Tensor], factor: float = 1.0) -> None:
        self.tensors: Any = tensors  # foreach wants a list or tuple, and says list
        self.factor = factor

    def __mul__(self, number: float) -> Vector:
        return Vector(self.tensors, self.factor * number)

    __rmul__ = __mul__

    def __neg__(self) -> Vector:
        return Vector(self.tensors, -self.factor)

    def __add__(self, other: Vector) -> Vector:
        if other.factor == 1.0:  # a scaled one goes second, where it costs nothing
            self, other = other, self
        if self.factor != 1.0:
            self = Vector(torch._foreach_mul(self.tensors, self.factor))
        return Vector(torch._foreach_add(self.tensors, other.tensors, alpha=other.factor))

    def __imul__(self, number: float) -> Vector:
        torch._foreach_mul_(self.tensors, number)
        return self

    def __iadd__(self, other: Vector) -> Vector:
        torch._foreach_add_(self.tensors, other.tensors, alpha=other.factor)
        return self

    def __isub__(self, other: Vector) -> Vector:
        torch._foreach_add_(self.tensors, other.tensors, alpha=-other.factor)
        return self
