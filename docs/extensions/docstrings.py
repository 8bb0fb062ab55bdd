"""Docstrings, plain text that can be read in an editor, made into reStructuredText.

Names are in single backquotes there, formulas are lines, as are the numbers that a callback logs.
"""

import inspect
import re
from textwrap import dedent, indent
from typing import Any

from sphinx.application import Sphinx

from scratchopt.optimizer import Optimizer

FORMULA = re.compile(r"\S.* ← ")
LITERAL = re.compile(r"`+([^`]+)`+")
# What is markup in reStructuredText alone: |λ|, **options, name_.
MARKUP = re.compile(r"(?=\||\*\*)|(?<=\w)(?=_(?:\W|$))")
QUOTED = re.compile(r'(?:\b\w+=)?"[a-z-][^\s"]*"')  # a value, no title: "cg", solver="cg"
OPTION = re.compile(r"        (\w+: .*)")  # of an argument that is several, listed beneath it


def process_docstring(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Makes reStructuredText of a docstring, in place; a method's is followed by its rule."""
    first = lines[0]
    blocks = "\n".join(lines).split("\n\n")
    lines[:] = "\n\n".join(map(restructure, blocks)).split("\n")
    of_class = inspect.isclass(value) and (value.__doc__ or "").startswith(first)
    if of_class and issubclass(value, Optimizer) and "rule" in vars(value):
        code = indent(read_rule(value), "   ")
        lines += ["", ".. code-block:: python", "", *code.splitlines(), ""]


def restructure(block: str) -> str:
    """Makes reStructuredText of what lies between two blank lines of a docstring."""
    block = block.removeprefix("```python\n").removesuffix("```")
    if block.lstrip().startswith(">>> "):
        return block
    parts = LITERAL.split(mark_values(block))
    parts[::2] = [MARKUP.sub(r"\\", part) for part in parts[::2]]
    parts[1::2] = [f"``{part}``" for part in parts[1::2]]
    parts[2::2] = [f"\\ {part}" if part[:1].isalnum() else part for part in parts[2::2]]
    block = "".join(parts)
    if FORMULA.match(block):
        return indent(block, "| ")
    if block.startswith("Args:\n"):
        return list_options(block)
    return list_tags(block)


def mark_values(text: str) -> str:
    """Puts values in double quotes, which are typed so, between backquotes if they are not."""
    parts = re.split("(`+[^`]+`+)", text)
    parts[::2] = [QUOTED.sub(r"`\g<0>`", part) for part in parts[::2]]
    return "".join(parts)


def list_options(block: str) -> str:
    """Makes a list of arguments that are described beneath another."""
    made: list[str] = []
    listed = False
    for line in block.splitlines():
        option = OPTION.fullmatch(line)
        if option and (listed or made[-1].endswith(":")):
            made += [] if listed else [""]
            listed = True
            line = f"        - {option[1]}"
        elif listed and line.startswith(" " * 12):
            line = line[2:]
        elif listed:
            made.append("")
            listed = False
        made.append(line)
    return "\n".join(made)


def list_tags(block: str) -> str:
    """Makes a list of the tags that a callback logs, each of which begins a line."""
    head, *tags = re.split(r"^(?=``\w+/\w+``: )", block, flags=re.MULTILINE)
    return "\n".join([head, *(indent(tag, "  ").replace("  ", "- ", 1) for tag in tags)])


def read_rule(method: type[Optimizer]) -> str:
    """The code of a method's rule, after the point of its gradient; last what the rule calls."""
    names = [name for name in ("gradient_point", "numbers", "rule") if vars(method).get(name)]
    functions = [getattr(method, name) for name in names]
    for function in functions:  # and those that are found on the way
        for name in function.__code__.co_names:
            called = function.__globals__.get(name)
            if inspect.isfunction(called) and called not in functions:
                functions.append(called)
    code = [dedent(inspect.getsource(function)) for function in functions]
    return "\n".join(code).replace("@staticmethod\n", "")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process_docstring, priority=400)  # before Napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
