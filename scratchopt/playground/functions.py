"""The functions of the playground in JavaScript, with their gradients and Hessians."""

from textwrap import indent
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from scratchopt.config.checkout import CONF
from scratchopt.playground.expressions import Expressions
from scratchopt.playground.programs import write_json, write_object
from scratchopt.problems.functions import Function, functions
from scratchopt.problems.regression import draw_line_data

CONDITION = {"name": "condition_number", "label": "κ", "value": 100, "low": 1, "high": 10_000}
FORMULAS = {
    "article": "sin x + x²/10",
    "quadratic": "(x² + κy²)/2",
    "rosenbrock": "(1 − x)² + 100(y − x²)²",
    "beale": "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²",
    "rastrigin": "Σ (10 + xᵢ² − 10 cos 2πxᵢ)",
    "regression": "mean of (slope·x + intercept − y)²",
}


def write_functions() -> str:
    """Writes all functions by name."""
    return write_object({name: _write_function(name) for name in FORMULAS})


def _write_function(name: str) -> str:
    data = draw_line_data() if name == "regression" else None
    function = functions()[name] if data is None else data.as_function()
    about = {
        "title": name,
        "formula": FORMULAS[name],
        "dim": function.dim,
        "start": function.start,
        "window": function.window,
        "minimizers": function.minimizers,
        "parameters": [CONDITION] if name == "quadratic" else [],
        "axes": ["slope", "intercept"] if data else ["x", "y"][: function.dim],
        "data": data and {"x": data.x.tolist(), "y": data.y.tolist()},
        "settings": _read_settings(name),
    }
    written = {key: write_json(value) for key, value in about.items()}
    arguments = [f"x{i}" for i in range(function.dim)]
    for derivative in ("value", "gradient", "hessian"):
        body = indent(_write_derivative(name, function, arguments, derivative), "  ")
        written[derivative] = f"([{', '.join(arguments)}], [k]) => {{\n{body}\n}}"
    return write_object(written)


def _write_derivative(name: str, function: Function, arguments: list[str], derivative: str) -> str:
    with Expressions() as expressions:
        if name == "quadratic":
            [k] = expressions.variables(["k"], [CONDITION["value"]])
            function = functions(k)[name]  # pyright: ignore[reportArgumentType]
        x = expressions.variables(arguments, function.start).requires_grad_()
        found: Tensor = function(x)
        if derivative != "value":
            (found,) = torch.autograd.grad(found, x, create_graph=True)
        if derivative == "hessian":
            rows = [torch.autograd.grad(part, x, retain_graph=True)[0] for part in found]
            found = torch.stack(rows)
    return expressions.write_body(found)


def _read_settings(name: str) -> dict[str, dict[str, Any]]:
    """Reads the settings that suit each optimizer on a function, from the task's configuration."""
    task = "linear_regression" if name == "regression" else "toy"
    config: Any = OmegaConf.load(CONF / "task" / f"{task}.yaml")
    settings = config.settings if name == "regression" else config.settings_by_function[name]
    return OmegaConf.to_container(settings)  # pyright: ignore[reportReturnType]
