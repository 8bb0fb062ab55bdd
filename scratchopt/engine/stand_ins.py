"""Stand-ins for the tensors and numbers of a rule while it is read: they tell what it does.

What they lack no rule may use; whatever a rule tries instead is refused in one message.
"""

from collections.abc import Callable
from typing import Any

import torch

from scratchopt.engine.operations import FUNCTIONS, RuleError

USE_WHERE = "write torch.where(g > 0, a, b) in its place"
OUTSIDE = "keep it in a buffer or in the param group"
# What a user of torch writes first, and how a rule writes it.
SPELLINGS = {
    **dict.fromkeys(("add", "add_", "sub", "sub_"), "write p -= lr * g"),
    **dict.fromkeys(("mul", "mul_", "div", "div_"), "write m *= beta"),
    **dict.fromkeys(("lerp", "lerp_"), "write m += (1 - beta) * (g - m)"),
    **dict.fromkeys(("addcmul", "addcmul_"), "write v += (1 - beta) * g * g"),
    **dict.fromkeys(("addcdiv", "addcdiv_"), "write p -= lr * m / d"),
    **dict.fromkeys(("square", "square_"), "write g ** 2"),
    **dict.fromkeys(("clone", "detach"), "write 1.0 * g"),
    **dict.fromkeys(("neg", "neg_"), "write -g"),
}
_FLOAT = "a function of math reads it, too: write lr ** 0.5 in place of math.sqrt(lr)"


def _refuse(what: str, instead: str = "") -> Callable[..., Any]:
    def refuse(self: Any, *_: Any, **__: Any) -> Any:
        raise self.reader.refuse(what.format(self.label), instead)

    return refuse


class StandIn:
    """A stand-in for a tensor, for a truth value of each element, or for a number.

    Args:
        reader: writes down what is done.
        value: the name of its value.
        label: what messages call it.
        law: what to say if it is written into, where that is forbidden.
    """

    __slots__ = ("label", "law", "reader", "value")
    __array_ufunc__ = None  # NumPy's numbers then leave operators to this
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, reader: Any, value: str, label: str, law: str = "") -> None:
        self.reader, self.value, self.label, self.law = reader, value, label, law

    def __getattr__(self, name: str) -> Any:
        raise self.reader.refuse(f"{self.label}.{name}", SPELLINGS.get(name, ""))

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = [*args, *(kwargs or {}).values()]
        found += [x for several in found if isinstance(several, list | tuple) for x in several]
        reader = next(x for x in found if isinstance(x, StandIn)).reader
        if any(isinstance(x, torch.Tensor) for x in found):
            raise reader.refuse("a tensor from outside", OUTSIDE)
        name = torch.overrides.resolve_name(function) or f"torch.{function.__name__}"
        if function not in FUNCTIONS:
            raise reader.refuse(name, SPELLINGS.get(name.rpartition(".")[2], ""))
        if not any(isinstance(x, Tensor | Mask) for x in found):
            raise reader.refuse(f"{name} of a number", "write lr ** 0.5, abs(lr) or max(lr, 0.1)")
        return FUNCTIONS[function](*args, **(kwargs or {}))

    __float__ = _refuse("float() of {}", _FLOAT)
    __int__ = __index__ = _refuse("int() of {}", "write t // 1")
    __complex__ = _refuse("complex() of {}")
    __round__ = __trunc__ = __floor__ = __ceil__ = _refuse("{} rounded", "write t // 1")
    __array__ = _refuse("{} in NumPy")
    __len__ = _refuse("len() of {}")
    __iter__ = _refuse("the elements of {}")
    __contains__ = _refuse("`in` {}")
    __getitem__ = __setitem__ = _refuse("an index of {}")
    __matmul__ = __rmatmul__ = _refuse("the matrix product of {}")


def _step(operation: str) -> Any:
    """An operation on a tensor, and the same with the tensor second."""

    def first(self: Any, *others: Any) -> Any:
        return self.reader.step(operation, self, *others)

    def second(self: Any, other: Any) -> Any:
        return self.reader.step(operation, other, self)

    return first, second


def _write(operation: str) -> Callable[..., Any]:
    """An operation in place, which gives the stand-in another value."""

    def write(self: Any, other: Any) -> Any:
        if self.law:
            raise RuleError(f"{self.reader.name}: {self.law}")
        self.value = self.reader.step(operation, self, other, in_place=True).value
        return self

    return write


class Tensor(StandIn):
    """A stand-in for a tensor."""

    __slots__ = ()

    __add__, __radd__ = _step("add")
    __sub__, __rsub__ = _step("sub")
    __mul__, __rmul__ = _step("mul")
    __truediv__, __rtruediv__ = _step("div")
    __pow__, __rpow__ = _step("pow")
    __gt__, _ = _step("gt")
    __ge__, _ = _step("ge")
    __lt__, _ = _step("lt")
    __le__, _ = _step("le")
    __eq__, _ = _step("eq")
    __ne__, _ = _step("ne")
    __neg__, _ = _step("neg")
    __abs__, _ = _step("abs")
    abs, pow = __abs__, __pow__
    sign, _ = _step("sign")
    sqrt, _ = _step("sqrt")
    rsqrt, _ = _step("rsqrt")
    exp, _ = _step("exp")
    log, _ = _step("log")

    __iadd__ = _write("add")
    __isub__ = _write("sub")
    __imul__ = _write("mul")
    __itruediv__ = _write("div")
    __ipow__ = _write("pow")

    __bool__ = _refuse("the truth of {}", "a rule may branch on its numbers alone: " + USE_WHERE)
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = _refuse("the remainder or floor of {}")

    def maximum(self, other: Any) -> Any:
        """Takes the larger of two tensors, element by element."""
        return self._extreme("maximum", other, "min")

    def minimum(self, other: Any) -> Any:
        """Takes the smaller of two tensors, element by element."""
        return self._extreme("minimum", other, "max")

    def _extreme(self, operation: str, other: Any, bound: str) -> Any:
        if not isinstance(other, Tensor):
            raise self.reader.refuse(f"{operation} with a number", f"write g.clamp({bound}=…)")
        return self.reader.step(operation, self, other)

    def clamp(self, min: Any = None, max: Any = None) -> Any:
        """Bounds the tensor by one bound or two: both numbers or both tensors, as in torch."""
        bounds = [bound for bound in (min, max) if bound is not None]
        if len({isinstance(bound, Tensor) for bound in bounds}) != 1:
            raise self.reader.refuse("clamp without a bound, or with a tensor and a number")
        low = self if min is None else self.clamp_min(min)
        return low if max is None else low.clamp_max(max)

    def clamp_min(self, min: Any) -> Any:
        """Bounds the tensor from below, by a number or a tensor."""
        return self.reader.step("clamp_min", self, min)

    def clamp_max(self, max: Any) -> Any:
        """Bounds the tensor from above, by a number or a tensor."""
        return self.reader.step("clamp_max", self, max)

    clamp_min_ = _write("clamp_min")
    clamp_max_ = _write("clamp_max")


class Mask(StandIn):
    """A stand-in for what a comparison of tensors gives."""

    __slots__ = ()

    __and__, _ = _step("and_")
    __or__, _ = _step("or_")
    __invert__, _ = _step("invert")

    __bool__ = _refuse("the truth of a comparison of tensors", USE_WHERE)
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = (
        __pow__
    ) = __rpow__ = __gt__ = __ge__ = __lt__ = __le__ = __eq__ = __ne__ = __neg__ = __abs__ = (
        _refuse("a comparison as a number", USE_WHERE)
    )

    def where(self, a: Any, b: Any) -> Any:
        """Chooses for each element; one of a and b may be a number."""
        if not any(isinstance(x, Tensor) for x in (a, b)):
            instead = "give it a tensor, as in torch.where(g > 0, lr * g, 0)"
            raise self.reader.refuse("torch.where of two numbers", instead)
        return self.reader.step("where", self, a, b)


def _compute(sign: str) -> Any:
    """An operator on a number, and the same with the number second."""

    def first(self: Any, other: Any) -> Any:
        if isinstance(other, Tensor | Mask):
            return NotImplemented
        return self.reader.compute(f"{{}} {sign} {{}}", self, other)

    def second(self: Any, other: Any) -> Any:
        return self.reader.compute(f"{{}} {sign} {{}}", other, self)

    return first, second


class Number(StandIn):
    """A stand-in for a number; a branch on it is followed both ways."""

    __slots__ = ()

    __add__, __radd__ = _compute("+")
    __sub__, __rsub__ = _compute("-")
    __mul__, __rmul__ = _compute("*")
    __truediv__, __rtruediv__ = _compute("/")
    __pow__, __rpow__ = _compute("**")
    __mod__, __rmod__ = _compute("%")
    __floordiv__, __rfloordiv__ = _compute("//")
    __gt__, _ = _compute(">")
    __ge__, _ = _compute(">=")
    __lt__, _ = _compute("<")
    __le__, _ = _compute("<=")
    __eq__, _ = _compute("==")
    __ne__, _ = _compute("!=")

    def __neg__(self) -> Any:
        return self.reader.compute("-{}", self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self.reader.compute("abs({})", self)

    def __bool__(self) -> bool:
        return self.reader.decide(self.value)
