"""The source lines of a rule, and which operations of its program each of them is."""

import ast
import inspect
import linecache
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from scratchopt.config.checkout import CHECKOUT
from scratchopt.engine.program import Line, Program
from scratchopt.engine.update import Rule


def find_source(functions: Iterable[Rule], used: Iterable[Line]) -> list[Line]:
    """Finds the lines of some functions, and of others that hold lines that are used.

    Of the engine, which adds a weight decay, it is the used lines alone, and first.
    """
    codes = [inspect.unwrap(function).__code__ for function in functions]
    found = [line for code in codes for line in _body(code.co_filename, code.co_firstlineno)]
    decay = [line for line in used if _is_engine(line)]
    for line in used:
        if not _is_engine(line):
            found += _body(*line)
    return list(dict.fromkeys([*decay, *found]))


def describe_line(line: Line) -> dict[str, Any]:
    """Describes a line: its file, number and text, as far indented as its function's body."""
    path, text = Path(line.file).resolve(), linecache.getline(line.file, line.number).rstrip()
    around = None if _is_engine(line) else _function_around(line.file, line.number)
    indented = len(text) - len(text.lstrip()) - around.body[0].col_offset if around else 0
    file = path.relative_to(CHECKOUT).as_posix() if path.is_relative_to(CHECKOUT) else path.name
    return {"file": file, "line": line.number, "text": " " * indented + text.strip()}


def find_written(
    program: Program, letters: list[str], lines: list[Line]
) -> list[tuple[int, str, int]]:
    """Finds what each line writes last: its index, the letter of the tensor, if any, and the step.

    Args:
        program: of a rule.
        letters: of its tensors.
        lines: those that `find_source` has found.
    """
    letter_of = {f"x{i}": letter for i, letter in enumerate(letters)}
    last = {}
    for i, (step, line) in enumerate(zip(program.steps, program.lines, strict=True)):
        letter = letter_of.get(str(step.operands[0]), "") if step.in_place else ""
        if letter:
            letter_of[step.name] = letter
        last[lines.index(line)] = (letter, i)
    return [(line, letter, i) for line, (letter, i) in last.items()]


def _is_engine(line: Line) -> bool:
    return Path(line.file).parent.name == "engine"


def _body(file: str, number: int) -> list[Line]:
    """The lines of the function around a line, without its head and its docstring.

    Of a lambda, or a source that is not there any more, it is the line itself.
    """
    around = _function_around(file, number)
    if around is None:
        return [Line(file, number)]
    body = around.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    first, last = body[0].lineno, body[-1].end_lineno or 0
    return [Line(file, number) for number in range(first, last + 1)]


def _function_around(file: str, number: int) -> ast.FunctionDef | None:
    functions = [node for node in ast.walk(_tree(file)) if isinstance(node, ast.FunctionDef)]
    around = [f for f in functions if _first_line(f) <= number <= (f.end_lineno or 0)]
    return max(around, key=_first_line, default=None)


def _first_line(function: ast.FunctionDef) -> int:
    return min(node.lineno for node in [function, *function.decorator_list])


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse("".join(linecache.getlines(file)))
