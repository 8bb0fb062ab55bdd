"""A program of a rule, written as a function in JavaScript."""

import ast
from collections.abc import Iterable
from json import dumps
from math import copysign, isinf, isnan
from typing import Any

from scratchopt.engine.operations import OPERATIONS, RuleError
from scratchopt.engine.program import Program

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}
_COMPARISONS |= {ast.Eq: "==", ast.NotEq: "!="}  # with which true is 1, as in Python


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
        entries = (f"{_write_key(key)}: {write_value(one)}" for key, one in value.items())
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(write_value, value)) + "]"
    return value if isinstance(value, str) else write_number(value)


def write_number(number: float) -> str:
    """Writes a number that stands in a rule, such that it is read as the same one."""
    if isnan(number):
        return "NaN"
    if isinf(number):
        return "Infinity" if number > 0 else "(-Infinity)"
    return f"({number!r})" if copysign(1, number) < 0 else repr(number + 0)  # True is 1


def _write_key(key: str) -> str:
    return key if key.isidentifier() else dumps(key)


def _write_step(step: Any) -> str:
    return OPERATIONS[step.operation].js.format(*map(write_value, step.operands))


def _write_arithmetic(source: str, single: set[str]) -> list[str]:
    """Writes the arithmetic of numbers, and names the factors that the tensors meet."""
    [function] = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    lines = []
    for line in function.body:
        if isinstance(line, ast.Assign):
            name, value = ast.unparse(line.targets[0]), _write(line.value)
            if single & _names(line.value):
                value = _write_single(line.value, single)
                if not isinstance(line.value, ast.Compare):
                    single.add(name)
            lines.append(f"const {name} = {value};")
        elif isinstance(line, ast.If):
            lines.append(f"if ({_write_test(line.test)}) return null;")
        elif isinstance(line, ast.Return) and isinstance(line.value, ast.Tuple):
            factors = enumerate(line.value.elts)
            lines += [f"const f{k} = {_write(factor)};" for k, factor in factors]
    return lines


def _names(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _write_test(test: ast.expr) -> str:
    """Writes the truth of a number: a NaN has it, as in Python."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return f"{_write(test.operand)} == 0"
    return f"{_write(test)} != 0"


def _write_single(node: ast.expr, single: set[str]) -> str:
    """Writes an expression as torch computes it, where an operand is a tensor in float32."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            a, b = (f"Math.fround({_write(operand)})" for operand in (left, right))
            if isinstance(op, ast.Pow) and not single & _names(right):
                b = _write(right)
            if isinstance(op, ast.Div) and not single & _names(left):
                return f"Math.fround(Math.fround(1 / {b}) * {a})"
            return f"Math.fround({_write_operator(op, a, b)})"
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            a, b = (f"Math.fround({_write(operand)})" for operand in (left, right))
            return f"({a} {_COMPARISONS[type(op)]} {b})"
    return _write(node)


def _write(node: ast.expr) -> str:
    """Writes an expression of the arithmetic, whose numbers and operators are Python's."""
    match node:
        case ast.Constant(value=float() | int() as number):
            return write_number(number)
        case ast.Name(id=name):
            return {"inf": "Infinity", "nan": "NaN"}.get(name, name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"(-{_write(operand)})"
        case ast.BinOp(left=left, op=op, right=right):
            return _write_operator(op, _write(left), _write(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return f"({_write(left)} {_COMPARISONS[type(op)]} {_write(right)})"
        case ast.Call(func=ast.Name(id="abs"), args=[operand]):
            return f"Math.abs({_write(operand)})"
    raise RuleError(f"{ast.unparse(node)} has no JavaScript: add its kind to js_source.py")


def _write_operator(op: ast.operator, a: str, b: str) -> str:
    """Writes an operator on two numbers; the remainder has the sign of b, as in Python."""
    other_sign = f"({a} % {b} != 0 && {a} % {b} < 0 != {b} < 0)"
    match op:
        case ast.Pow():
            return f"Math.pow({a}, {b})"
        case ast.Mod():
            return f"({a} % {b} + ({other_sign} ? {b} : 0))"
        case ast.FloorDiv():  # not of a / b, which may have been rounded up: 1 // 0.1 is 9
            return f"(Math.round(({a} - {a} % {b}) / {b}) - {other_sign})"
    return f"({a} {_OPERATORS[type(op)]} {b})"
