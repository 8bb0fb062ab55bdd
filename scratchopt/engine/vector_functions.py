"""Functions and comparisons of `Vector`s; sums and products are in `scratchopt.engine.vector`.

They make new tensors, so that what a rule gave a name to may be used again.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.operations import FUNCTIONS, OPERATIONS


def apply(name: str, *arguments: Any) -> list[Tensor]:
    """Applies an operation: in one foreach call, or where torch has none, tensor by tensor."""
    values = [a.value() if isinstance(a, Functions | Mask) else a for a in arguments]
    if name in _BOUNDS and isinstance(values[1], list | tuple):
        name = _BOUNDS[name]
    together = getattr(torch, f"_foreach_{name}", None)
    if together is not None:
        return together(*values)
    count = next(len(value) for value in values if isinstance(value, list | tuple))
    columns = [value if isinstance(value, list | tuple) else [value] * count for value in values]
    return [OPERATIONS[name].function(*row) for row in zip(*columns, strict=True)]


_BOUNDS = {"clamp_min": "maximum", "clamp_max": "minimum"}  # where the bound is a vector


def _function(name: str) -> Callable[..., Any]:
    return lambda self, *others: self.make_new(apply(name, self, *others))


def _comparison(name: str) -> Any:
    return lambda self, *others: Mask(apply(name, self, *others))


def _call(
    cls: type, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
) -> Any:
    return FUNCTIONS[function](*args, **(kwargs or {}))


class Functions:
    """The functions and comparisons of a `Vector` that a rule may use."""

    factor: float
    make_new: Callable[..., Any]
    _settled: Callable[[], Any]
    _write: Callable[..., Any]
    __torch_function__ = classmethod(_call)
    __hash__ = None  # type: ignore[assignment]

    abs = __abs__ = _function("abs")
    sign, rsqrt, exp, log = map(_function, ("sign", "rsqrt", "exp", "log"))
    maximum, minimum = _function("maximum"), _function("minimum")
    clamp_min, clamp_max = _function("clamp_min"), _function("clamp_max")
    pow = __pow__ = _function("pow")

    __gt__, __ge__, __lt__, __le__ = map(_comparison, ("gt", "ge", "lt", "le"))
    __eq__, __ne__ = _comparison("eq"), _comparison("ne")

    def __rpow__(self, base: float) -> Any:
        return self.make_new(torch._foreach_pow(base, self.value()))

    def clamp(self, min: Any = None, max: Any = None) -> Any:
        """Bounds the vector from one side or both."""
        low = self if min is None else self.clamp_min(min)
        return low if max is None else low.clamp_max(max)

    def clamp_min_(self, min: Any) -> Any:
        """Bounds the vector from below, in place."""
        return self._bound("clamp_min", min)

    def clamp_max_(self, max: Any) -> Any:
        """Bounds the vector from above, in place."""
        return self._bound("clamp_max", max)

    def __ipow__(self, exponent: Any) -> Any:
        value = exponent.value() if isinstance(exponent, Functions) else exponent
        return self._write("pow", value)

    def _bound(self, name: str, bound: Any) -> Any:
        if isinstance(bound, Functions):
            return self._write(_BOUNDS[name], bound.value())
        return self._write(name, bound)

    def value(self) -> Any:
        """The tensors, with the factor in them."""
        settled = self._settled()
        if settled.factor == 1.0:
            return settled.tensors
        return torch._foreach_mul(settled.tensors, settled.factor)


class Mask:
    """A truth value of each element of many tensors, which a comparison gives."""

    __torch_function__ = classmethod(_call)

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors

    def value(self) -> list[Tensor]:
        """The tensors, of truth values."""
        return self._tensors

    __and__, __or__, __invert__ = map(_comparison, ("and_", "or_", "invert"))

    def where(self, a: Any, b: Any) -> Any:
        """Chooses for each element; one of a and b may be a number."""
        vector = a if isinstance(a, Functions) else b
        return vector.make_new(apply("where", self, a, b))
