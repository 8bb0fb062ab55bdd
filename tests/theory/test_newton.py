"""Newton's method: one step on a quadratic, order two near a root, maxima included."""

from functools import partial
from math import cos, log, prod, sin

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchopt import Newton
from scratchopt.theory.measurements import Article
from scratchopt.theory.quadratics import Quadratic, descend

examples = settings(derandomize=True, deadline=None, max_examples=30)
MAXIMUM, MINIMA = 1.977383029329, (-1.306440008370, 3.837467106499)  # of sin x + x²/10


def root_near(x: float) -> float:
    """The zero of f'(x) = cos x + x/5 near x, by twenty steps of plain arithmetic."""
    for _ in range(20):
        x -= (cos(x) + x / 5) / (0.2 - sin(x))
    return x


@examples
@given(
    shapes=st.lists(st.lists(st.integers(1, 3), max_size=2), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    log_kappa=st.floats(0.0, 6.0),
    definite=st.booleans(),
)
def test_one_step_solves_any_quadratic_in_tensors_of_any_shapes(shapes, seed, log_kappa, definite):
    """Curvatures of both signs, their moduli from 1 to κ. The error, in the norm of the distance
    that was gone, is that of solving a linear system: under 1e-14·κ per parameter.
    """
    sizes = [prod(shape) for shape in shapes]
    n = sum(sizes)
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.standard_normal((n, n)))
    curvatures = 10 ** random.uniform(0, log_kappa, n)
    if not definite:
        curvatures *= random.choice([-1, 1], n)
    hessian = torch.from_numpy(axes * curvatures @ axes.T)
    center, start = torch.from_numpy(random.standard_normal((2, n)))
    f = Quadratic((hessian + hessian.T) / 2, center)
    params = [
        torch.nn.Parameter(part.reshape(shape).clone())
        for part, shape in zip(start.split(sizes), shapes, strict=True)
    ]
    optimizer = Newton(params)
    optimizer.backward(f(torch.cat([p.flatten() for p in params])))
    optimizer.step()
    end = torch.cat([p.detach().flatten() for p in params])
    assert (end - center).norm() <= 1e-14 * n * 10**log_kappa * (start - center).norm()


def errors(path: torch.Tensor, root: torch.Tensor) -> list[float]:
    """‖θ − root‖ from step to step, while rounding is not yet felt."""
    return [e for e in (path - root).norm(dim=1).tolist() if e > 1e-13]


def orders(e: list[float]) -> list[float]:
    """The order of convergence by each three successive errors: log(e₂/e₁)/log(e₁/e₀)."""
    return [log(c / b) / log(b / a) for a, b, c in zip(e, e[1:], e[2:], strict=False)]


@pytest.mark.parametrize("start", [-1.0, -0.7, -1.9, 1.6, 2.3, 3.4, 4.5])
def test_the_order_near_a_root_is_two(start):
    """And the constant is |f‴/(2f″)|, Newton's own: with it e₁ = c·e₀², to a hundredth."""
    x = torch.tensor([start], dtype=torch.float64)
    path = descend(Newton, Article(), x, 8)
    root = root_near(path[-1].item())
    e = errors(path, torch.tensor([root], dtype=torch.float64))
    assert orders(e)[-1] >= 1.9
    constant = abs(-cos(root) / (2 * (0.2 - sin(root))))
    assert e[-1] / e[-2] ** 2 == pytest.approx(constant, rel=0.01)


class Coupled:
    """f(x, y) = exp(x) + exp(y) + exp(−x − 2y) + (x − y)²: not separable; its minimum is found."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x
        return a.exp() + b.exp() + (-a - 2 * b).exp() + (a - b) ** 2


@pytest.mark.parametrize("start", [(1.0, 0.0), (-1.0, 1.5)])
def test_the_order_in_two_dimensions_is_two(start):
    path = descend(Newton, Coupled(), torch.tensor(start, dtype=torch.float64), 15)
    e = errors(path, path[-1])
    assert len(e) > 4
    assert orders(e)[-1] >= 1.9


def test_damping_takes_the_order_back_to_one():
    """The errors shrink by damping/(f″ + damping) a step."""
    path = descend(partial(Newton, damping=0.5), Article(), torch.tensor([-1.0]).double(), 20)
    root = root_near(-1.3)
    e = errors(path, torch.tensor([root], dtype=torch.float64))
    assert orders(e)[-1] == pytest.approx(1, abs=0.01)
    assert e[-1] / e[-2] == pytest.approx(0.5 / (0.2 - sin(root) + 0.5), rel=1e-3)


@settings(examples, max_examples=15)
@given(start=st.floats(1.4, 2.5), damping=st.floats(1.5, 2.5))
def test_undamped_newton_goes_to_the_maximum_and_damped_newton_to_a_minimum(start, damping):
    """f″ is nowhere below −0.8, so that a damping above 0.8 makes every step go downhill."""
    x = torch.tensor([start], dtype=torch.float64)
    undamped = descend(Newton, Article(), x, 10)[-1].item()
    assert undamped == pytest.approx(MAXIMUM, abs=1e-12)
    if abs(start - MAXIMUM) < 1e-3:  # f' is as good as 0 there: leaving takes long
        x += 0.01
    damped = descend(partial(Newton, damping=damping), Article(), x, 60)[-1].item()
    assert min(abs(damped - minimum) for minimum in MINIMA) < 1e-3


@pytest.mark.parametrize("damping", [0.8, 2.0])
def test_at_a_saddle_undamped_newton_stops_and_damping_beyond_the_least_curvature_leaves_it(
    damping,
):
    f = Quadratic(torch.tensor([1.0, -0.7], dtype=torch.float64))
    start = torch.tensor([1.0, 1e-3], dtype=torch.float64)
    assert descend(Newton, f, start, 1)[-1].norm() < 1e-15
    path = descend(partial(Newton, damping=damping), f, start, 30)
    assert f(path[-1]) < f(path[0])
    assert (path[1:, 1].abs() > path[:-1, 1].abs()).all()
