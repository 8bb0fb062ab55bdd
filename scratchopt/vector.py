"""Vector: many tensors, and one number that multiplies them all, as if they were one vector."""

from __future__ import annotations

from typing import Any

import torch


class Vector:
    """A list of tensors times a number, and perhaps times, over or less a second list.

    Such a product waits until a sum takes it, and both are then one call, as in BLAS axpy:
    `p -= lr * g` is `torch._foreach_add_(p, g, alpha=-lr)`, and `m += w * (g - m)` is
    `torch._foreach_lerp_(m, g, w)`. torch's own optimizers make the same calls, so the results
    agree to the last bit.

    Args:
        tensors: a list or tuple, of any shapes; in-place operators write into them.
        factor: the number.
        op: "*", "/" or "-", what stands before `other`, the second list; or empty.
        temporary: nobody else has the tensors, so the next operator may write into them.
    """

    __slots__ = ("factor", "op", "other", "temporary", "tensors")

    def __init__(
        self, tensors: Any, factor: float = 1.0, op: str = "", other: Any = None, *, temporary=False
    ) -> None:
        self.tensors, self.factor, self.op, self.other = tensors, factor, op, other
        self.temporary = temporary

    def __mul__(self, by: float | Vector) -> Vector:
        if isinstance(by, Vector):
            return Vector(self.tensors, self.factor * by.factor, "*", by.tensors)
        return Vector(self.tensors, self.factor * by, self.op, self.other)

    __rmul__ = __mul__

    def __neg__(self) -> Vector:
        return self * -1.0

    def __truediv__(self, by: float | Vector) -> Vector:
        if isinstance(by, Vector):
            return Vector(self.tensors, self.factor, "/", by.tensors)
        return self._new("div", by)

    def __add__(self, term: float | Vector) -> Vector:
        if isinstance(term, Vector) and not term.op and term.factor == 1.0:
            self, term = term, self  # a scaled one goes second, where it costs nothing
        arguments, options = self._sum(term)
        return self._new(*arguments, **options)

    def __sub__(self, term: Vector) -> Vector:
        if term.op:
            return self + -term
        plain = self if self.factor == 1.0 else self._new("mul", 1.0)
        return Vector(plain.tensors, 1.0, "-", term.tensors)

    def __iadd__(self, term: float | Vector) -> Vector:
        arguments, options = self._sum(term)
        return self._write(*arguments, **options)

    def __isub__(self, term: Vector) -> Vector:
        self += -term
        return self

    def __imul__(self, number: float) -> Vector:
        return self._write("mul", number)

    def sqrt(self) -> Vector:
        """The square root of every element."""
        return self._new("sqrt")

    def clamp_min_(self, floor: Vector) -> Vector:
        """The larger of the two, element by element, in place."""
        return self._write("clamp_min", floor.tensors)

    def _sum(self, term: Any) -> tuple[tuple[Any, ...], dict[str, float]]:
        """The foreach call that adds the term: its name and arguments."""
        if not isinstance(term, Vector):
            return ("add", term), {}
        if not term.op:
            return ("add", term.tensors), {"alpha": term.factor}
        if term.op == "-" and term.other is self.tensors:
            return ("lerp", term.tensors, term.factor), {}
        name = {"*": "addcmul", "/": "addcdiv"}[term.op]
        return (name, term.tensors, term.other, term.factor), {}

    def _write(self, name: str, *arguments: Any, **options: float) -> Vector:
        getattr(torch, f"_foreach_{name}_")(self.tensors, *arguments, **options)
        return self

    def _new(self, name: str, *arguments: Any, **options: float) -> Vector:
        if self.factor != 1.0:
            self = Vector(torch._foreach_mul(self.tensors, self.factor), temporary=True)
        if self.temporary:
            return self._write(name, *arguments, **options)
        new = getattr(torch, f"_foreach_{name}")(self.tensors, *arguments, **options)
        return Vector(new, temporary=True)
