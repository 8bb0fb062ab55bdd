"""The theory of each method on a quadratic ½θᵀHθ, as formulas.

The limits of stability are the library's, `scratchopt.stability`.

m and L are the smallest and the largest curvature (eigenvalue of H), κ = L/m, μ the momentum. In
the direction of an eigenvector of curvature λ a method is a linear map of (θ, v), and its
eigenvalues depend on lr·λ and μ alone.

References: Polyak, "Some methods of speeding up the convergence of iteration methods" (1964);
Nesterov, "Introductory lectures on convex optimization" (2004), section 2.2; Lessard, Recht and
Packard, "Analysis and design of optimization algorithms via integral quadratic constraints", SIAM
Journal on Optimization 26 (2016), arXiv 1408.3595, proposition 1; Goh, "Why momentum really works",
Distill (2017).
"""

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

import numpy as np


class TunedMethod(NamedTuple):
    """A method with the settings that a theorem gives it on a quadratic.

    Args:
        methods: by the names of our classes.
        settings: keyword arguments, from m and L.
        rate: the contraction per step in the long run, from κ.
        double: whether the slowest direction has a double root: its part of θ is (a + bt)·rateᵗ.
    """

    methods: tuple[str, ...]
    settings: Callable[[float, float], dict[str, float]]
    rate: Callable[[float], float]
    double: bool


def _heavy_ball(m: float, L: float) -> dict[str, float]:
    root = sqrt(L / m)
    return {"lr": 4 / (sqrt(L) + sqrt(m)) ** 2, "momentum": ((root - 1) / (root + 1)) ** 2}


def _nesterov(m: float, L: float) -> dict[str, float]:
    root = sqrt(L / m)
    return {"lr": 1 / L, "momentum": (root - 1) / (root + 1)}


def _nesterov_optimal(m: float, L: float) -> dict[str, float]:
    root = sqrt(3 * L / m + 1)
    return {"lr": 4 / (3 * L + m), "momentum": (root - 2) / (root + 2)}


# Lessard, Recht and Packard, proposition 1; Newton solves a quadratic in one step
TUNED = {
    "gradient descent": TunedMethod(
        ("SGD",), lambda m, L: {"lr": 2 / (L + m)}, lambda k: (k - 1) / (k + 1), double=False
    ),
    "heavy ball": TunedMethod(
        ("Momentum",), _heavy_ball, lambda k: (sqrt(k) - 1) / (sqrt(k) + 1), double=True
    ),
    "NAG, standard": TunedMethod(
        ("NAG", "NAGTorch"), _nesterov, lambda k: 1 - 1 / sqrt(k), double=True
    ),
    "NAG, optimal": TunedMethod(
        ("NAG", "NAGTorch"), _nesterov_optimal, lambda k: 1 - 2 / sqrt(3 * k + 1), double=True
    ),
    "Newton": TunedMethod(("Newton",), lambda m, L: {"lr": 1.0}, lambda k: 0.0, double=False),
}


def eigenvalues(method: str, s: Any, mu: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both eigenvalues of a step in one direction, where s = lr·λ; they broadcast over s and μ.

    Momentum: the roots of z² − (1 + μ − s)z + μ. NAG and NAGTorch: of
    z² − (1 + μ)(1 − s)z + μ(1 − s). SGD: 1 − s, and 0 for want of a velocity.
    """
    s, mu = np.broadcast_arrays(np.asarray(s, complex), np.asarray(mu, complex))
    trace, determinant = {
        "SGD": (1 - s, 0 * s),
        "Momentum": (1 + mu - s, mu),
        "NAG": ((1 + mu) * (1 - s), mu * (1 - s)),
        "NAGTorch": ((1 + mu) * (1 - s), mu * (1 - s)),
    }[method]
    root = np.sqrt(trace**2 - 4 * determinant)
    return (trace + root) / 2, (trace - root) / 2


def rate(method: str, s: Any, mu: Any) -> np.ndarray:
    """The contraction per step in one direction: the larger modulus of the eigenvalues."""
    first, second = eigenvalues(method, s, mu)
    return np.maximum(np.abs(first), np.abs(second))


def best_momentum(method: str, s: Any) -> np.ndarray:
    """The μ with the lowest rate at s = lr·λ: there the two eigenvalues meet.

    Momentum: (1 − √s)². NAG and NAGTorch: (1 − √s)/(1 + √s), for s <= 1.
    """
    root = np.sqrt(s)
    return (1 - root) ** 2 if method == "Momentum" else (1 - root) / (1 + root)
