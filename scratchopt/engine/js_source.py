"""A program of a rule, written as a function in JavaScript."""

import ast
import re
from collections.abc import Iterable
from math import isinf, isnan
from typing import Any

from scratchopt.engine.operations import OPERATIONS
from scratchopt.engine.program import Program

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}
_COMPARISONS |= {ast.Eq: "===", ast.NotEq: "!=="}


def write_function(program: Program, returned: str, single: Iterable[str] = ()) -> str:
    """Writes a program as a function of two arrays: a tensor's element each, and all numbers.

    Args:
        program: what is computed.
        returned: the expression that the function returns, of the program's names.
        single: names of numbers that are kept in float32; what is made of them is rounded to it.

    Returns:
        A function of x, the elements x0, x1, …, and n, the numbers n0, n1, … as `flatten_numbers`
        lists them; it returns null where the numbers go another way.
    """
    lines = [f"const {step.name} = {_write_step(step)};" for step in program.steps]
    body = [*_write_arithmetic(program.source, set(single)), *lines, f"return {returned};"]
    tensors = ", ".join(f"x{i}" for i in range(len(program.results)))
    [arithmetic] = ast.parse(program.source).body
    assert isinstance(arithmetic, ast.FunctionDef)
    numbers = ", ".join(argument.arg for argument in arithmetic.args.args)
    return f"([{tensors}], [{numbers}]) => {{\n" + "\n".join(f"  {x}" for x in body) + "\n}"


def write_value(value: Any) -> str:
    """Writes what a program has named, a number, or several by name or in order."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {write_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(write_value, value)) + "]"
    return value if isinstance(value, str) else write_number(value)


def write_number(number: float) -> str:
    """Writes a number that stands in a rule, such that it is read as the same one."""
    if isnan(number):
        return "NaN"
    if isinf(number):
        return "Infinity" if number > 0 else "(-Infinity)"
    return f"({number!r})" if number < 0 else repr(number + 0)  # True is 1


def _write_step(step: Any) -> str:
    return OPERATIONS[step.operation].js.format(*map(write_value, step.operands))


def _write_arithmetic(source: str, single: set[str]) -> list[str]:
    """Writes the arithmetic of numbers, and names the factors that the tensors meet."""
    [function] = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    lines = []
    for line in function.body:
        if isinstance(line, ast.Assign):
            name, used = ast.unparse(line.targets[0]), _names(line.value)
            value = _write(line.value)
            if single & used and isinstance(line.value, ast.BinOp):
                value = re.sub(r"\b[an]\d+\b", r"Math.fround(\g<0>)", value)
                value = f"Math.fround({value})"
                single.add(name)
            lines.append(f"const {name} = {value};")
        elif isinstance(line, ast.If):
            lines.append(f"if ({_write(line.test)}) return null;")
        elif isinstance(line, ast.Return) and isinstance(line.value, ast.Tuple):
            factors = enumerate(line.value.elts)
            lines += [f"const f{k} = {_write(factor)};" for k, factor in factors]
    return lines


def _names(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _write(node: ast.expr) -> str:
    """Writes an expression of the arithmetic, whose numbers and operators are Python's."""
    match node:
        case ast.Constant(value=float() | int() as number):
            return write_number(number)
        case ast.Name(id=name):
            return {"inf": "Infinity", "nan": "NaN"}.get(name, name)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"!({_write(operand)})"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"(-{_write(operand)})"
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return f"Math.pow({_write(left)}, {_write(right)})"
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=right):
            return f"Math.floor({_write(left)} / {_write(right)})"
        case ast.BinOp(left=left, op=ast.Mod(), right=right):
            a, b = _write(left), _write(right)
            return f"({a} - {b} * Math.floor({a} / {b}))"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return f"({_write(left)} {_OPERATORS[type(op)]} {_write(right)})"
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return f"({_write(left)} {_COMPARISONS[type(op)]} {_write(right)})"
        case ast.Call(func=ast.Name(id="abs"), args=[operand]):
            return f"Math.abs({_write(operand)})"
    raise NotImplementedError(f"{ast.unparse(node)} has no JavaScript")
