"""Newton's method in JavaScript, for one number or two."""

import inspect
import json
from pathlib import Path
from typing import Any
from textwrap import dedent, indent

import torch
from torch import Tensor

from scratchopt.newton import Newton
from scratchopt.playground.expressions import Expressions
from scratchopt.second_order.system import System


ROOT = Path(__file__).parents[2]
SETTINGS = [
    {"name": "lr", "label": "lr", "value": 1.0, "low": 0, "high": None, "scale": "log"},
    {"name": "damping", "label": "damping", "value": 0.0, "low": 0, "high": None, "scale": "log"},
    {
        "name": "weight_decay",
        "label": "weight decay",
        "value": 0.0,
        "low": 0,
        "high": None,
        "scale": "log",
    },
]
def newton_step(
    p: Tensor, g: Tensor, h: Tensor, lr: Tensor, damping: Tensor, weight_decay: Tensor
) -> Tensor:
    """Takes Newton's step of few numbers: `scratchopt.Newton`'s system, solved whole."""
    decay = weight_decay.expand(len(p))
    b = g + decay * p
    curvature = h + torch.diag(decay)
    system = System(curvature.__matmul__, curvature, damping.expand(len(p)), b)
    direction, _ = system.solve("dense", 0, 0.0)
    return p - lr * direction


def write_newton() -> str:
    """Writes Newton's method as an entry of the playground: a step for each dimension."""
    lines, first = inspect.getsourcelines(newton_step)
    start = next(i for i, line in enumerate(lines) if line.rstrip().endswith('"""')) + 1
    texts = dedent("".join(lines[start:])).splitlines()
    file = Path(__file__).relative_to(ROOT).as_posix()
    about: dict[str, Any] = {
        "title": "Newton",
        "file": "scratchopt/newton.py",
        "summary": (Newton.__doc__ or "").partition("\n")[0],
        "settings": SETTINGS,
        "switches": [],
        "pointed": False,
        "adaptive": False,
        "lines": [
            {"file": file, "line": first + start + i, "text": text} for i, text in enumerate(texts)
        ],
    }
    written = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in about.items()]
    steps = ", ".join(f"{dim}: {_write_step(dim)}" for dim in (1, 2))
    return "{\n" + indent(",\n".join([*written, f"steps: {{{steps}}}"]), "  ") + "\n}"


def _write_step(dim: int) -> str:
    """Writes the step of a number of variables, as a function of θ, g, H and the settings."""
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
        settings = ("lr", "damping", "weight_decay")
        numbers = (expressions.variables([name], [1.0]) for name in settings)
        step = newton_step(p, g, h, *numbers)
    arguments = ", ".join(str(x).replace("'", "") for x in (*names, rows))
    body = indent(expressions.write_body(step), "  ")
    return f"({arguments}, {{{', '.join(settings)}}}) => {{\n{body}\n}}"
