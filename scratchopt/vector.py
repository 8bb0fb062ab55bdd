"""Vector: many tensors, and one number that multiplies them all, as if they were one vector."""

from __future__ import annotations

from typing import Any

import torch


class Vector:
    """A list of tensors times a number, and perhaps times, over or less a second list.

    Such a product waits until a sum takes it, and both are one call, as in BLAS axpy: `p -= lr * g`
    is `torch._foreach_add_(p, g, alpha=-lr)`. torch's own optimizers make the same calls, so the
    results agree to the last bit. Its use after its tensors have changed is a RuntimeError.

    Args:
        tensors, factor: the list, which in-place operators write into, and the number.
        op: "mul", "div" or "sub", what comes before `other`, the second list; or empty.
        temporary: no rule has a name for the tensors, so the next operator may write into them.
    """

    def __init__(self, tensors: Any, factor=1.0, op="", other: Any = (), temporary=False) -> None:
        self.lists, self.factor, self.op, self.temporary = (tensors, other), factor, op, temporary
        self.plain = not op and factor == 1.0
        self._versions = None if self.plain and not temporary else self._now()

    @property
    def tensors(self) -> Any:
        if self._versions and self._versions != self._now():
            raise RuntimeError("a rule used a value after a part of it had changed: write it anew")
        return self.lists[0]

    def __mul__(self, by: float | Vector) -> Vector:
        if isinstance(by, Vector):
            return self._with("mul", by, by.factor)
        return Vector(self.tensors, self.factor * by, self.op, self.lists[1])

    __rmul__ = __mul__

    def __truediv__(self, by: float | Vector) -> Vector:
        if isinstance(by, Vector):
            return self._with("div", by, 1 / by.factor)
        return self._new("div", by)

    def __neg__(self) -> Vector:
        return self * -1.0

    def __add__(self, term: float | Vector) -> Vector:
        if isinstance(term, Vector) and term.plain:  # a scaled one goes second, at no cost
            self, term = term, self
        arguments, options = self._sum(term)
        return self._new(*arguments, **options)

    def __sub__(self, term: Vector) -> Vector:
        return self._with("sub", term, 1.0) if self.plain and term.plain else self + -term

    def __iadd__(self, term: float | Vector) -> Vector:
        arguments, options = self._sum(term)
        return self._write(*arguments, **options)

    def __isub__(self, term: Vector) -> Vector:
        return self.__iadd__(-term)

    def __imul__(self, number: float) -> Vector:
        return self._write("mul", number)

    def sqrt(self) -> Vector:
        return self._new("sqrt")

    def clamp_min_(self, floor: Vector) -> Vector:
        return self._write("clamp_min", (floor if floor.plain else floor._new("mul", 1.0)).tensors)

    def _now(self) -> tuple[int, ...]:
        return tuple(tensors[0]._version for tensors in self.lists if tensors)

    def _with(self, op: str, second: Vector, factor: float) -> Vector:
        a, b = self._settled(), second._settled()
        return Vector(a.tensors, a.factor * factor, op, b.tensors)

    def _settled(self) -> Vector:
        if not self.op:
            return self
        function = getattr(torch, f"_foreach_{self.op}")
        return Vector(function(self.tensors, self.lists[1]), self.factor, temporary=True)

    def _sum(self, term: Any) -> tuple[tuple[Any, ...], dict[str, float]]:
        if not isinstance(term, Vector):
            return ("add", term), {}
        if term.op == "sub" and self.plain and term.lists[1] is self.lists[0]:
            return ("lerp", term.tensors, term.factor), {}
        if term.op in ("mul", "div"):
            return (f"addc{term.op}", term.tensors, term.lists[1], term.factor), {}
        return ("add", term._settled().tensors), {"alpha": term.factor}

    def _write(self, name: str, *arguments: Any, **options: float) -> Vector:
        into = self if self.plain else self._new("mul", 1.0)
        getattr(torch, f"_foreach_{name}_")(into.tensors, *arguments, **options)
        into._versions = into._versions and into._now()
        return into

    def _new(self, name: str, *arguments: Any, **options: float) -> Vector:
        self = self._settled()
        if self.factor != 1.0:
            self = Vector(torch._foreach_mul(self.tensors, self.factor), temporary=True)
        function = getattr(torch, f"_foreach_{name}_" if self.temporary else f"_foreach_{name}")
        result = function(self.tensors, *arguments, **options)
        return Vector(self.lists[0] if self.temporary else result, temporary=True)
