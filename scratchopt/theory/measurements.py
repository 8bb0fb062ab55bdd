"""Measurements beside the theory: rates, limits of stability, maps, oscillations.

Every function takes a class of optimizer, so that a test can also give it a wrong one.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import scratchopt
from scratchopt import Adam, Momentum
from scratchopt.problems.functions import article
from scratchopt.theory.closed_forms import TUNED, rate
from scratchopt.theory.quadratics import (
    Quadratic,
    descend,
    find_largest_stable,
    fit_rate,
    is_stable,
    make_quadratic,
    measure_growth,
    spectral_radius,
    take_step,
    transfer_matrix,
)

MINIMUM = -1.306440008370  # of the article's function
MAP_S = np.linspace(0, 4, 81)[1:]  # lr·λ
MAP_MU = np.linspace(0, 0.96, 25)


class Article:
    """The article's f(x) = sin x + x²/10, with its derivatives."""

    __call__ = staticmethod(article)

    def gradient(self, x: Tensor) -> Tensor:
        """f'(x)."""
        return torch.cos(x) + x / 5

    def curvature(self, x: Any) -> Any:
        """f''(x) of a number."""
        return 0.2 - np.sin(x)


class RateMap(NamedTuple):
    """Contraction per step over lr·λ (columns) and μ (rows)."""

    s: np.ndarray
    mu: np.ndarray
    measured: np.ndarray
    closed: np.ndarray


class Oscillation(NamedTuple):
    """A run from the article's start, and the eigenvalue that its last steps follow.

    Args:
        x: before each step.
        fitted: the eigenvalue of the larger modulus, of a pair that with a positive imaginary part,
            found from the x alone.
    """

    x: np.ndarray
    fitted: complex


def measure_rates(cls: Any, name: str, kappa: float) -> tuple[float, float]:
    """Measures the contraction per step on a quadratic of curvatures 1 to κ, in two ways.

    The first is the spectral radius of the matrix of one step, which needs no long run, so that
    the t·ρᵗ of a double root cannot disturb it. The second is fitted to the second half of a
    long run.

    Args:
        cls: the optimizer.
        name: of its settings, in `TUNED`.
        kappa: largest curvature by smallest.
    """
    tuned = TUNED[name]
    make, f = partial(cls, **tuned.settings(1.0, kappa)), make_quadratic(1.0, kappa)
    start = torch.ones(4, dtype=torch.float64)
    radius = spectral_radius(transfer_matrix(make, f, 4))
    if tuned.rate(kappa) == 0:  # Newton is there, and there is nothing to fit
        path = descend(make, f, start, 1)
        return radius, (path[1].norm() / path[0].norm()).item()
    steps = min(2000, int(20 / (1 - tuned.rate(kappa))))
    return radius, fit_rate(descend(make, f, start, steps), double=tuned.double)


def measure_limit(cls: Any, mu: float | None = None) -> float:
    """Measures the largest stable lr·λ, by bisection on runs in one direction.

    Args:
        cls: SGD or a method with momentum.
        mu: its momentum, for a method that has one.
    """
    curvature = 3.0
    f = Quadratic(torch.tensor([curvature], dtype=torch.float64))
    settings = {} if mu is None else {"momentum": mu}
    steps = _steps_to_forget(mu or 0.0)

    def runs(lr: float) -> bool:
        x = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        return is_stable(cls([x], lr=lr, **settings), x, f, steps)

    return curvature * find_largest_stable(runs, 0.01)


def _steps_to_forget(mu: float) -> int:
    """Steps until what shrinks by μ a step, the second eigenvalue at the limit, is forgotten."""
    return 60 + round(10 / (1 - mu))


def measure_adam_limit(cls: Any, beta1: float) -> float:
    """Measures the largest stable lr·λ/√v of Adam with v all but constant, by bisection on runs.

    The state is given: v = 7, and so large a step that both bias corrections are 1. β₂ is the
    largest number below 1, and the gradients are under 1e-2·√v: v keeps its value to 1e-12.
    """
    curvature, mean_square = 3.0, 7.0
    f = Quadratic(torch.tensor([curvature], dtype=torch.float64))

    def runs(lr: float) -> bool:
        x = torch.nn.Parameter(torch.full((1,), 1e-8, dtype=torch.float64))
        optimizer = cls([x], lr=lr, betas=(beta1, 1 - 2**-53), eps=0.0)
        optimizer.state[x].update(
            step=torch.tensor(1e30),
            exp_avg=torch.zeros(1, dtype=torch.float64),
            exp_avg_sq=torch.full((1,), mean_square, dtype=torch.float64),
        )
        return is_stable(optimizer, x, f, _steps_to_forget(beta1))

    return curvature / mean_square**0.5 * find_largest_stable(runs, 0.01)


def measure_adam_sharpness(beta1: float, steps: int = 2000) -> np.ndarray:
    """Measures the largest lr·λ/√v at each step of a run of Adam on 20 curvatures from 1 to 100."""
    curvatures = torch.logspace(0, 2, 20, dtype=torch.float64)
    lr, beta2 = 0.1, 0.99
    x, f = torch.nn.Parameter(torch.ones(20, dtype=torch.float64)), Quadratic(curvatures)
    optimizer = Adam([x], lr=lr, betas=(beta1, beta2), eps=0.0)
    largest = []
    for t in range(1, steps + 1):
        take_step(optimizer, x, f)
        root = (optimizer.state[x]["exp_avg_sq"] / (1 - beta2**t)).sqrt()
        largest.append((lr * curvatures / root).max().item())
    return np.array(largest)


def measure_momentum_map(method: str, s: np.ndarray = MAP_S, mu: np.ndarray = MAP_MU) -> RateMap:
    """Measures a method over lr·λ and μ: a row is a run of 200 steps, with a direction a column."""
    cls, curvatures = getattr(scratchopt, method), torch.from_numpy(s)
    rows = [
        measure_growth(partial(cls, lr=1.0, momentum=row), curvatures, steps=150, after=50)
        for row in mu.tolist()
    ]
    closed = rate(method, s[None, :], mu[:, None])
    return RateMap(s, mu, torch.stack(rows).numpy(), closed)


def measure_rate_of_step(cls: Any, curvatures: np.ndarray, **settings: float) -> float:
    """Measures the contraction per step over some curvatures: the spectral radius of one step."""
    f = Quadratic(torch.from_numpy(curvatures))
    return spectral_radius(transfer_matrix(partial(cls, **settings), f, len(curvatures)))


def measure_oscillation(cls: Any = Momentum, steps: int = 300) -> Oscillation:
    """Runs a method on the article's function from −8 at lr 1.0, μ 0.9, and fits its oscillation.

    Near the minimum y = x − x* obeys y_{t+2} = a·y_{t+1} − b·y_t. a and b are fitted by least
    squares, each equation divided by |y_t|, to the steps from which |y| stays below 1e-5 until it
    is 1e-9; the eigenvalue is a root of z² − az + b. Of two real roots the smaller is forgotten
    too soon to be seen in a run, and then the fit is that of the least a² + b².

    Args:
        cls: the optimizer.
        steps: of the run.
    """
    start = torch.tensor([-8.0], dtype=torch.float64)
    x = descend(partial(cls, lr=1.0, momentum=0.9), Article(), start, steps)[:, 0].numpy()
    y = x - MINIMUM
    y = y[np.flatnonzero(np.abs(y) > 1e-5)[-1] + 1 :]
    y = y[: np.flatnonzero(np.append(np.abs(y), 0) < 1e-9)[0]]
    rows = np.column_stack([y[1:-1], -y[:-2], y[2:]]) / np.abs(y[:-2, None])
    (a, b), *_ = np.linalg.lstsq(rows[:, :2], rows[:, 2], rcond=1e-3)
    root = max(np.roots([1, -a, b]), key=abs)
    return Oscillation(x, complex(root.real, abs(root.imag)))
