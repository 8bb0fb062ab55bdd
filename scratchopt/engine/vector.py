"""Vector: many tensors, and one number that multiplies them all, as if they were one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Vector:
    """A list of tensors times a number, and perhaps times, over or less a second list.

    Such a product waits until a sum takes it, and both are one call, as in BLAS axpy: `p -= lr * g`
    is `torch._foreach_add_(p, g, alpha=-lr)`. torch's own optimizers make the same calls, so the
    results agree to the last bit. Its use after its tensors have changed is a RuntimeError.

    Args:
        tensors, factor: the list and the number.
        op: "mul", "div" or "sub", what comes before `other`, the second list; or empty.
        role: "named" for a rule's own list, "temporary" for nobody's, empty for a product.
    """

    def __init__(self, tensors: Any, factor=1.0, op="", other: Any = (), role="") -> None:
        self.lists, self.factor, self.op, self.role = (tensors, other), factor, op, role
        self._versions = None if role == "named" else self._now()

    @property
    def tensors(self) -> Any:
        if self._versions and self._versions != self._now():
            raise RuntimeError("a rule used a value after a part of it had changed: write it anew")
        return self.lists[0]

    def __mul__(self, by: float | Vector) -> Vector:
        if isinstance(by, Vector):
            return self._with("mul", by, by.factor)
        return Vector(self.tensors, self.factor * by, self.op, self.lists[1])

    def __truediv__(self, d: float | Vector) -> Vector:
        return self._with("div", d, 1 / d.factor) if isinstance(d, Vector) else self._new("div", d)

    def __neg__(self) -> Vector:
        return self * -1.0

    def __add__(self, term: float | Vector) -> Vector:
        if isinstance(term, Vector) and not term.op and term.factor == 1.0:
            self, term = term, self  # a scaled one goes second, where it costs nothing
        return self._sum(term, self._new)

    def __sub__(self, term: float | Vector) -> Vector:
        if not isinstance(term, Vector) or term.op or term.factor != 1.0:
            return self + -term
        return (self if self.factor == 1.0 else self._new("mul", 1.0))._with("sub", term, 1.0)

    def __iadd__(self, term: float | Vector) -> Vector:
        return self._sum(term, self._write)

    def __isub__(self, term: float | Vector) -> Vector:
        return self.__iadd__(-term)

    def __imul__(self, number: float) -> Vector:
        return self._write("mul", number)

    def __itruediv__(self, number: float) -> Vector:
        return self._write("div", number)

    __radd__, __rmul__ = __add__, __mul__

    def sqrt(self) -> Vector:
        return self._new("sqrt")

    def clamp_min_(self, floor: Vector) -> Vector:
        return self._write("maximum", (floor if floor.role else floor._new("mul", 1.0)).tensors)

    def _now(self) -> tuple[int, ...]:
        return tuple(tensors[0]._version for tensors in self.lists if tensors)

    def _with(self, op: str, second: Vector, factor: float) -> Vector:
        a, b = self._settled(), second._settled()
        return Vector(a.tensors, a.factor * factor, op, b.tensors)

    def _settled(self) -> Vector:
        if not self.op:
            return self
        function = getattr(torch, f"_foreach_{self.op}")
        return Vector(function(self.tensors, self.lists[1]), self.factor, role="temporary")

    def _sum(self, term: Any, call: Callable[..., Vector]) -> Vector:
        if not isinstance(term, Vector):
            return call("add", term)
        if term.op == "sub" and self.role and term.lists[1] is self.lists[0]:
            return call("lerp", term.tensors, term.factor)
        if term.op in ("mul", "div"):
            return call(f"addc{term.op}", term.tensors, term.lists[1], term.factor)
        return call("add", term._settled().tensors, alpha=term.factor)

    def _write(self, name: str, *arguments: Any, **options: float) -> Vector:
        into = self if self.role else self._new("mul", 1.0)
        _in_place(name, into.tensors, *arguments, **options)
        into._versions = into._versions and into._now()
        return into

    def _new(self, name: str, *arguments: Any, **options: float) -> Vector:
        self = self._settled()
        if self.factor != 1.0:
            self = Vector(torch._foreach_mul(self.tensors, self.factor), role="temporary")
        in_place = "_" if self.role == "temporary" else ""
        result = getattr(torch, f"_foreach_{name}{in_place}")(self.tensors, *arguments, **options)
        return Vector(self.lists[0] if in_place else result, role="temporary")


def _in_place(name: str, tensors: list[torch.Tensor], *arguments: Any, **options: float) -> None:
    getattr(torch, f"_foreach_{name}_")(tensors, *arguments, **options)
    if name == "lerp":  # of which torch's kernel on a GPU does not say that it has written
        torch.autograd.graph.increment_version(tensors[0])
