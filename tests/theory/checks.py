"""Checks of a method against its theory. Each takes the class, so that wrong ones can be given.

A check raises AssertionError where the class is not the method of that name.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from scratchopt.stability import LIMITS
from scratchopt.theory.closed_forms import TUNED
from scratchopt.theory.measurements import measure_limit, measure_rates
from scratchopt.theory.quadratics import make_quadratic, take_step


def check_rate(cls: Any, name: str, kappa: float) -> None:
    """The contraction per step is the closed form: by the matrix to 1e-6, by a run to 2e-4."""
    closed = TUNED[name].rate(kappa)
    matrix, run = measure_rates(cls, name, kappa)
    assert matrix == pytest.approx(closed, rel=1e-6, abs=1e-9)
    assert run == pytest.approx(closed, rel=2e-4, abs=1e-9)


def check_limit(cls: Any, method: str, mu: float) -> None:
    """The largest stable lr·λ, bisected to 3e-8, is the closed form to 1e-7 of it."""
    bisected = measure_limit(cls, None if method == "SGD" else mu)
    assert bisected == pytest.approx(LIMITS[method](mu), rel=1e-7)


Gradient = Callable[[np.ndarray], np.ndarray]


def _sutskever(
    gradient: Gradient, x: np.ndarray, settings: list[tuple[float, float]], ahead: bool
) -> np.ndarray:
    """Sutskever et al. (2013), equations 1 and 2; ahead: 3 and 4."""
    v = np.zeros_like(x)
    for lr, mu in settings:
        v = mu * v - lr * gradient(x + mu * v if ahead else x)
        x = x + v
    return x


def _torchs(gradient: Gradient, x: np.ndarray, settings: list[tuple[float, float]]) -> np.ndarray:
    """The algorithm in the documentation of torch.optim.SGD, with nesterov and no dampening."""
    b = np.zeros_like(x)
    for lr, mu in settings:
        g = gradient(x)
        b = mu * b + g
        x = x - lr * (g + mu * b)
    return x


RECURRENCES: dict[str, Callable[..., np.ndarray]] = {
    "Momentum": partial(_sutskever, ahead=False),
    "NAG": partial(_sutskever, ahead=True),
    "NAGTorch": _torchs,
}


def check_schedule(cls: Any, method: str, lr: list[float], momentum: list[float]) -> None:
    """θ at the end of a run with another lr and μ at each step is the recurrence's, to 1e-12.

    Where lr multiplies, and when μ does, shows under a schedule alone: at constant settings the
    velocity is but scaled.
    """
    settings = list(zip(lr, momentum, strict=True))
    f, start = make_quadratic(0.1, 1.0), torch.ones(4, dtype=torch.float64)
    x = torch.nn.Parameter(start.clone())
    optimizer = cls([x])
    for now in settings:
        optimizer.param_groups[0].update(zip(("lr", "momentum"), now, strict=True))
        take_step(optimizer, x, f)
    hessian = f.hessian.numpy()
    expected = RECURRENCES[method](lambda point: hessian @ point, start.numpy(), settings)
    assert x.detach().numpy() == pytest.approx(expected, rel=0, abs=1e-12)


def check_constant_lr_schedule(cls: Any, method: str) -> None:
    """The same with μ warmed up and lr constant: of two mistakes only one shows here."""
    check_schedule(cls, method, [0.5] * 30, [0.9 - 0.8 / t for t in range(1, 31)])


def check_constant_momentum_schedule(cls: Any, method: str) -> None:
    """The same with lr on a cosine and μ constant."""
    check_schedule(cls, method, [0.3 + 0.2 * math.cos(t / 5) for t in range(30)], [0.8] * 30)


def check_bias_correction(cls: Any, beta1: float = 0.9, beta2: float = 0.999) -> None:
    """Checks that under a constant gradient g each step of Adam is lr·sign g, to 1e-12 of lr.

    Kingma and Ba (2015), section 3: the corrections make both averages unbiased, so that they are
    g and g² from the first step on.
    """
    x = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    gradient = torch.tensor([1e-3, -2.0, 50.0], dtype=torch.float64)
    optimizer = cls([x], lr=0.1, betas=(beta1, beta2), eps=0.0)
    for t in range(1, 101):
        x.grad = gradient.clone()
        optimizer.step()
        expected = -0.1 * t * gradient.sign()
        assert x.detach().numpy() == pytest.approx(expected.numpy(), rel=1e-12)
