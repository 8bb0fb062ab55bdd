"""Vector: many tensors, and one number that multiplies them all, as if they were one vector.

A product waits until a sum takes it, and both are one call, as in BLAS axpy. torch's own optimizers
make the same calls, so the results agree to the last bit. The use of a product after its tensors
have changed is a RuntimeError.

What a rule's expressions come to, where p, m and v are the rule's own lists, g is the gradient's,
and lr is 0.5 (`calls` runs an expression and prints what it calls in torch; a result without a
name is ␣):

>>> calls("d = lr * g")  # nothing: a factor waits for a sum
>>> calls("p -= lr * g")
_foreach_add_(p, g, alpha=-0.5)
>>> calls("p -= lr * g * m")
_foreach_addcmul_(p, g, m, value=-0.5)
>>> calls("p -= lr * m / v")
_foreach_addcdiv_(p, m, v, value=-0.5)
>>> calls("m += lr * (g - m)")
_foreach_lerp_(m, g, 0.5)
>>> calls("m *= lr")
_foreach_mul_(m, 0.5)
>>> calls("m /= lr")
_foreach_div_(m, 0.5)
>>> calls("m += 1")
_foreach_add_(m, 1)
>>> calls("m.clamp_min_(v)")
_foreach_maximum_(m, v)
>>> calls("m.clamp_min_(lr)")
_foreach_clamp_min_(m, 0.5)
>>> calls("p -= g + lr * v")
_foreach_add(g, v, alpha=0.5)
_foreach_add_(p, ␣, alpha=-1.0)
>>> calls("p -= m / (v.sqrt() + 1)")
_foreach_sqrt(v)
_foreach_add_(␣, 1)
_foreach_addcdiv_(p, m, ␣, value=-1.0)
>>> calls("p -= 1 - v")
_foreach_mul(v, -1.0)
_foreach_add_(␣, 1)
_foreach_add_(p, ␣, alpha=-1.0)
>>> calls("p -= lr / v")
_foreach_reciprocal(v)
_foreach_add_(p, ␣, alpha=-0.5)
>>> calls("p -= lr * m.sign()")
_foreach_sign(m)
_foreach_add_(p, ␣, alpha=-0.5)
>>> calls("p -= lr * m.maximum(2 * v)")
_foreach_mul(v, 2.0)
_foreach_maximum(m, ␣)
_foreach_add_(p, ␣, alpha=-0.5)
>>> calls("p -= m.clamp(-1, 1)")
_foreach_clamp_min(m, -1)
_foreach_clamp_max(␣, 1)
_foreach_add_(p, ␣, alpha=-1.0)
>>> calls("p -= torch.where(m > 0, m, lr)")  # of comparisons torch has no foreach calls
_foreach_add_(p, ␣, alpha=-1.0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from scratchopt.engine.vector_functions import Functions


class Stale(RuntimeError):
    """A product that was put off, and whose parts have changed since."""


class Vector(Functions):
    """A list of tensors times a number, and perhaps times, over or less a second list.

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
            raise Stale("a rule used a value after a part of it had changed: write it anew")
        return self.lists[0]

    def __mul__(self, by: float | Vector) -> Vector:
        if isinstance(by, Vector):
            return self._with("mul", by, by.factor)
        return Vector(self.tensors, self.factor * by, self.op, self.lists[1])

    def __truediv__(self, d: float | Vector) -> Vector:
        return self._with("div", d, 1 / d.factor) if isinstance(d, Vector) else self._new("div", d)

    def __rtruediv__(self, number: float) -> Vector:
        return self._new("reciprocal") * number

    def __add__(self, term: float | Vector) -> Vector:
        if isinstance(term, Vector) and not term.op and term.factor == 1.0:
            self, term = term, self  # a scaled one goes second, where it costs nothing
        return self._sum(term, self._new)

    def __sub__(self, term: float | Vector) -> Vector:
        if not isinstance(term, Vector) or term.op or term.factor != 1.0:
            return self + -term
        return (self if self.factor == 1.0 else self._new("mul", 1.0))._with("sub", term, 1.0)

    def __neg__(self) -> Vector:
        return self * -1.0

    def __rsub__(self, number: float) -> Vector:
        return -self + number

    def __iadd__(self, term: float | Vector) -> Vector:
        return self._sum(term, self._write)

    def __isub__(self, term: float | Vector) -> Vector:
        return self.__iadd__(-term)

    def __imul__(self, by: float | Vector) -> Vector:
        return self._write("mul", by.value() if isinstance(by, Vector) else by)

    def __itruediv__(self, by: float | Vector) -> Vector:
        return self._write("div", by.value() if isinstance(by, Vector) else by)

    __radd__, __rmul__ = __add__, __mul__

    def sqrt(self) -> Vector:
        return self._new("sqrt")

    def make_new(self, tensors: Any) -> Vector:
        return Vector(tensors, role="temporary")

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
            return call(f"addc{term.op}", term.tensors, term.lists[1], value=term.factor)
        return call("add", term._settled().tensors, alpha=term.factor)

    def _write(self, name: str, *arguments: Any, **options: float) -> Vector:
        if not self.role:  # nobody's list: it becomes that of the result
            vars(self).update(vars(self._new(name, *arguments, **options)))
            return self
        _in_place(name, self.tensors, *arguments, **options)
        self._versions = self._versions and self._now()
        return self

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
