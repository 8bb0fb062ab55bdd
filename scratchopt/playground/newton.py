"""Newton's method in JavaScript, for one number or two."""

import inspect
import re
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import torch
from torch import Tensor

from scratchopt.config.checkout import CHECKOUT
from scratchopt.newton import Newton
from scratchopt.playground.expressions import Expressions
from scratchopt.playground.programs import write_json, write_object
from scratchopt.playground.settings import describe_setting
from scratchopt.second_order.system import System

SETTINGS = ("lr", "damping", "weight_decay")
RETURNED = ("p", "b", "d")  # by `newton_step`


def newton_step(
    p: Tensor, g: Tensor, h: Tensor, lr: Tensor, damping: Tensor, weight_decay: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Takes Newton's step of few numbers: `scratchopt.Newton`'s system, solved whole."""
    b = g + weight_decay * p
    curvature = h + torch.diag(weight_decay.expand_as(p))
    system = System(curvature.__matmul__, curvature, damping.expand_as(p), b)
    d, _ = system.solve("dense", 0, 0.0)
    p = p - lr * d
    return p, b, d


def write_newton() -> str:
    """Writes Newton's method as an entry of the playground: a step for each dimension."""
    optimizer = Newton([torch.nn.Parameter(torch.zeros(1))])
    lines, first = inspect.getsourcelines(newton_step)
    start = next(i for i, line in enumerate(lines) if line.rstrip().endswith('"""')) + 1
    texts = dedent("".join(lines[start:-1])).splitlines()  # but for what is returned
    written = [
        (line, name, RETURNED.index(name))
        for line, text in enumerate(texts)
        if (name := re.split(r"\W", text)[0]) in RETURNED
    ]
    file = Path(__file__).resolve().relative_to(CHECKOUT).as_posix()
    about: dict[str, Any] = {
        "title": "Newton",
        "summary": (Newton.__doc__ or "").partition("\n")[0],
        "settings": [describe_setting(optimizer, name) for name in SETTINGS],
        "switches": [],
        "pointed": False,
        "adaptive": False,
        "lines": [
            {"file": file, "line": first + start + i, "text": text} for i, text in enumerate(texts)
        ],
        "written": written,
    }
    entries = {key: write_json(value) for key, value in about.items()}
    steps = {str(dim): _write_step(dim) for dim in (1, 2)}
    return write_object(entries | {"steps": write_object(steps)})


def _write_step(dim: int) -> str:
    """Writes the step of a number of variables, as a function of θ, g, H and the settings.

    It returns the new θ, b and the direction d.
    """
    names = [[f"{letter}{i}" for i in range(dim)] for letter in "pg"]
    rows = [[f"h{i}{j}" for j in range(dim)] for i in range(dim)]
    with Expressions() as expressions:
        p, g = (expressions.variables(name, [1.0] * dim) for name in names)
        h = torch.stack(
            [
                expressions.variables(row, [float(i == j) for j in range(dim)])
                for i, row in enumerate(rows)
            ]
        )
        numbers = (expressions.variables([name], [1.0]) for name in SETTINGS)
        step = newton_step(p, g, h, *numbers)
    arguments = ", ".join(str(x).replace("'", "") for x in (*names, rows))
    body = indent(expressions.write_body(*step), "  ")
    return f"({arguments}, {{{', '.join(SETTINGS)}}}) => {{\n{body}\n}}"
