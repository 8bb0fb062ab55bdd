"""The toy's functions: smooth, of one or two variables, with known global minima."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import pi
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Function:
    """A function f: ℝᵈ → ℝ and what is known of it. Called, it maps shape (..., d) to (...).

    Args:
        name: its name.
        formula: f itself, of shape (..., d) to (...), in torch's operations.
        minimizers: every point of the global minimum, d numbers each.
        start: where to start if nobody says otherwise, d numbers.
        window: (low, high) of each coordinate, for pictures; the start and a minimizer are inside.
    """

    name: str
    formula: Callable[[Tensor], Tensor]
    minimizers: tuple[tuple[float, ...], ...]
    start: tuple[float, ...]
    window: tuple[tuple[float, float], ...]

    @property
    def title(self) -> str:
        """The name in a picture's title."""
        return "sin x + x²/10" if self.name == "article" else self.name

    @property
    def dim(self) -> int:
        """d, the number of variables."""
        return len(self.start)

    def __call__(self, x: Tensor) -> Tensor:
        """The values f(x) at each point of x."""
        return self.formula(x)

    def distance(self, x: Tensor) -> Tensor:
        """Max-norm distance, 0-dim, of the point x, shape (d,), to the nearest global minimizer."""
        return (x - x.new_tensor(self.minimizers)).abs().amax(-1).min()


def article(x: Tensor) -> Tensor:
    """The article's f(x) = sin x + x²/10.

    Its minima are −1.306440 (global) and 3.837467; between them is a maximum, 1.977383.
    """
    x = x.squeeze(-1)
    return torch.sin(x) + x**2 / 10


def rosenbrock(x: Tensor) -> Tensor:
    """A bent valley (Rosenbrock, 1960): f(x, y) = (1 − x)² + 100(y − x²)²."""
    x, y = x.unbind(-1)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def rastrigin(x: Tensor) -> Tensor:
    """A minimum near every integer point (Rastrigin, 1974): f(x) = Σ (10 + xᵢ² − 10 cos 2πxᵢ)."""
    return (10 + x**2 - 10 * torch.cos(2 * pi * x)).sum(-1)


def beale(x: Tensor) -> Tensor:
    """A plain with steep edges (Beale, 1958).

    f(x, y) = (1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)².
    """
    x, y = x.unbind(-1)
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def quadratic(x: Tensor, condition_number: float) -> Tensor:
    """A bowl of curvatures 1 and κ, the condition number: f(x, y) = (x² + κy²)/2."""
    x, y = x.unbind(-1)
    return (x**2 + condition_number * y**2) / 2


def functions(condition_number: float = 100.0) -> dict[str, Function]:
    """Makes all functions, by name.

    Args:
        condition_number: of the quadratic, >= 1.

    Raises:
        ValueError: a condition number below 1.
    """
    if not condition_number >= 1:
        raise ValueError(f"Invalid condition_number: {condition_number} (condition_number >= 1)")
    # The root of cos x + x/5, to 12 decimals. The article tests against −1.30644, which is 8e-9
    # off: with its tolerance of 1e-6 every count of steps is the same.
    every = [
        Function("article", article, ((-1.306440008370,),), (-5.0,), ((-10.0, 10.0),)),
        Function("rosenbrock", rosenbrock, ((1.0, 1.0),), (-1.2, 1.0), ((-2.0, 2.0), (-1.0, 3.0))),
        Function("rastrigin", rastrigin, ((0.0, 0.0),), (0.4, -0.3), ((-2.5, 2.5), (-2.5, 2.5))),
        Function("beale", beale, ((3.0, 0.5),), (1.0, 1.0), ((-4.5, 4.5), (-4.5, 4.5))),
        Function(
            "quadratic",
            partial(quadratic, condition_number=condition_number),
            ((0.0, 0.0),),
            (-8.0, 1.5),
            ((-10.0, 10.0), (-2.0, 2.0)),
        ),
    ]
    return {function.name: function for function in every}


def find_function(task: Mapping[str, Any]) -> Function | None:
    """Finds the function that a task minimizes, if it declares one of these by its keys.

    Args:
        task: the arguments of its constructor: `function`, a name, and for a quadratic
            `condition_number`.
    """
    name, condition = task.get("function"), task.get("condition_number", 100.0)
    if not (isinstance(name, str) and isinstance(condition, float | int) and condition >= 1):
        return None
    return functions(condition).get(name)
