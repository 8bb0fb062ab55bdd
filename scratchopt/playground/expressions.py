"""Reads a function of a few numbers, with its derivatives, as lines of JavaScript.

Torch runs the function once, at an example, and every operation that its dispatcher sees is written
down. Those of autograd are among them, so that no gradient is written by hand. Where a function
branches on its numbers, the way of the example is written.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scratchopt.engine.js_source import write_value
from scratchopt.engine.operations import OPERATIONS, RuleError

# What each operation is in JavaScript, by the name that torch's dispatcher gives it.
_OF_RULES = ("add", "sub", "mul", "div", "pow", "neg", "abs", "exp", "log", "sqrt")
_ELEMENTWISE = {name: OPERATIONS[name].js for name in _OF_RULES}
_ELEMENTWISE |= {"rsub": "{1} - {0}", "sin": "Math.sin({})", "cos": "Math.cos({})"}
_OF_NUMBERS = ("add", "sub", "mul", "div")  # done at once where both operands are known
# The same in fewer words, or as torch computes a power; by the operation and its second operand.
_SHORT = {("pow", 1): "{0}", ("pow", 2): "{0} * {0}", ("pow", 3): "{0} * {0} * {0}"}
_SHORT |= {("mul", 1): "{0}", ("div", 1): "{0}", ("add", 0): "{0}", ("sub", 0): "{0}"}


class Expressions(TorchDispatchMode):
    """Writes down what is computed of its variables while it is entered.

    An expression belongs to a place in memory, so that views and changes in place need no care.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[str, str] = {}  # names by what they are
        self._memory: dict[int, dict[int, str]] = {}  # of each storage, by the place in it
        self._kept: list[Tensor] = []  # so that no storage is used again

    def variables(self, names: Sequence[str], example: Sequence[float]) -> Tensor:
        """Makes a vector of variables, with the values of an example."""
        vector = torch.tensor(example, dtype=torch.float64)
        self._write(vector, np.array(names, dtype=object))
        return vector

    def write_body(self, *tensors: Tensor) -> str:
        """Writes the body of a function that returns a tensor, or several, as nested arrays."""
        found = [self._read(tensor).tolist() for tensor in tensors]
        returned = write_value(found if len(found) > 1 else found[0])
        lines, needed = [f"return {returned};"], set(re.findall(r"\bt\d+\b", returned))
        for text, name in reversed(self._lines.items()):
            if name in needed:
                lines.append(f"const {name} = {text};")
                needed |= set(re.findall(r"\bt\d+\b", text))
        return "\n".join(reversed(lines))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C._DisableTorchDispatch():
            result = func(*args, **(kwargs or {}))
            read = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
            if any(map(self._is_known, read)):
                self._compute(func.overloadpacket.__name__, args, result, read)
        return result

    def _compute(self, name: str, args: Any, result: Any, read: list[Tensor]) -> None:
        """Writes down the result of an operation on variables, unless it is a view of them."""
        in_place, name = name.endswith("_"), name.rstrip("_")
        if name == "_linalg_solve_ex":
            return self._write(result[0], _solve(self, *map(self._read, read)))
        if not isinstance(result, Tensor) or result.dtype != torch.float64:
            return None  # what is compared or looked at, as the example has it
        if not in_place and any(_storage(result) == _storage(x) for x in read):
            return None
        operands = [self._read(x) if isinstance(x, Tensor) else x for x in args]
        match name:
            case "clone" | "_to_copy":
                found = operands[0]
            case "copy":
                found = operands[1]
            case "stack":
                found = np.stack([self._read(x) for x in args[0]], *args[1:])
            case "diag_embed":
                found = np.where(np.eye(len(operands[0]), dtype=bool), operands[0], 0.0)
            case "sum" | "mean":
                found = self._sum(operands[0], args[1] if len(args) > 1 else None)
                if name == "mean":
                    found = self.each("div", found, read[0].numel() / result.numel())
            case _ if name in _ELEMENTWISE:
                found = self.each(name, *operands)
            case "ones_like" | "zeros_like":
                return None
            case _:
                raise RuleError(f"{name} of torch has no JavaScript: add it to _ELEMENTWISE")
        return self._write(result, np.broadcast_to(found, result.shape))

    def each(self, name: str, *operands: Any) -> Any:
        """An operation of arrays of expressions, element by element."""
        arrays = np.broadcast_arrays(*(np.asarray(x, dtype=object) for x in operands))
        found = np.empty(arrays[0].shape, dtype=object)
        for place in np.ndindex(found.shape):
            found[place] = self._line(name, *(array[place] for array in arrays))
        return found

    def _line(self, name: str, *operands: Any) -> Any:
        """An operation of two names or numbers: the name of a line, or one of them."""
        if name in ("add", "mul") and not isinstance(operands[0], str):
            operands = operands[::-1]  # a known number is second
        if name in _OF_NUMBERS and not any(isinstance(x, str) for x in operands):
            return OPERATIONS[name].function(*operands)
        if name in ("mul", "pow") and operands[1] == 0:
            return 0.0 if name == "mul" else 1.0
        template = _SHORT.get((name, operands[-1]), _ELEMENTWISE[name])
        text = template.format(*map(write_value, operands))
        if template == "{0}":
            return operands[0]
        return self._lines.setdefault(text, f"t{len(self._lines)}")

    def _sum(self, array: Any, axes: Any) -> Any:
        for axis in sorted(range(array.ndim) if axes is None else axes, reverse=True):
            first, *rest = np.moveaxis(array, axis, 0)
            for other in rest:
                first = self.each("add", first, other)
            array = np.asarray(first, dtype=object)
        return array

    def _places(self, tensor: Tensor) -> Any:
        """The places in its storage of a tensor's numbers, in its shape."""
        flat = np.arange(tensor.untyped_storage().nbytes() // tensor.element_size())
        strides = [8 * step for step in tensor.stride()]
        start = flat[tensor.storage_offset() :]
        return np.lib.stride_tricks.as_strided(start, tuple(tensor.shape), strides)

    def _is_known(self, tensor: Tensor) -> bool:
        return bool(self._memory.get(_storage(tensor)))

    def _read(self, tensor: Tensor) -> Any:
        values = np.array(tensor.detach().tolist(), dtype=object)
        found, known = np.empty(values.shape, dtype=object), self._memory.get(_storage(tensor), {})
        for place, at in np.ndenumerate(self._places(tensor)):
            found[place] = known.get(int(at), values[place])
        return found

    def _write(self, tensor: Tensor, expressions: Any) -> None:
        self._kept.append(tensor)
        known = self._memory.setdefault(_storage(tensor), {})
        for place, at in np.ndenumerate(self._places(tensor)):
            if isinstance(expressions[place], str):
                known[int(at)] = expressions[place]
            else:
                known.pop(int(at), None)  # the number in memory is it


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _solve(expressions: Expressions, a: Any, b: Any) -> Any:
    """The solution of a·x = b, of one equation or two, by Cramer's rule."""
    each = expressions.each
    if len(b) == 1:
        return np.array([each("div", b[0], a[0, 0])[()]], dtype=object)

    def determinant(p: Any, q: Any, r: Any, s: Any) -> Any:
        return each("sub", each("mul", p, s), each("mul", q, r))

    whole = determinant(*a.flat)
    x = determinant(b[0], a[0, 1], b[1], a[1, 1])
    y = determinant(a[0, 0], b[0], a[1, 0], b[1])
    return np.array([each("div", top, whole)[()] for top in (x, y)], dtype=object)
