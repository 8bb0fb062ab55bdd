"""The effect of a change of units or axes on each method, on random quadratics."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from scratchopt import NAG, SGD, Adagrad, Adam, AdamW, Momentum, NAGTorch, Newton, RMSprop
from scratchopt.theory.quadratics import Quadratic, descend

STEPS = 12
examples = settings(derandomize=True, deadline=None, max_examples=15)

# By name: the method from (lr, μ), at eps = 0 where it has one
LINEAR: dict[str, Callable[[float, float], Any]] = {
    "SGD": lambda lr, mu: partial(SGD, lr=lr),
    "Momentum": lambda lr, mu: partial(Momentum, lr=lr, momentum=mu),
    "NAG": lambda lr, mu: partial(NAG, lr=lr, momentum=mu),
    "NAGTorch": lambda lr, mu: partial(NAGTorch, lr=lr, momentum=mu),
}
ADAPTIVE: dict[str, Callable[[float, float], Any]] = {
    "Adagrad": lambda lr, mu: partial(Adagrad, lr=lr, eps=0.0),
    "RMSprop": lambda lr, mu: partial(RMSprop, lr=lr, eps=0.0),
    "RMSprop with momentum": lambda lr, mu: partial(RMSprop, lr=lr, eps=0.0, momentum=mu),
    "Adam": lambda lr, mu: partial(Adam, lr=lr, eps=0.0, betas=(mu, 0.999)),
    "AMSGrad": lambda lr, mu: partial(Adam, lr=lr, eps=0.0, betas=(mu, 0.9), amsgrad=True),
    "AdamW": lambda lr, mu: partial(AdamW, lr=lr, eps=0.0, betas=(mu, 0.999), weight_decay=0.1),
}
NEWTON = {"Newton": lambda lr, mu: partial(Newton, lr=lr)}


class Problem:
    """A random quadratic, a start, and settings at which every method is stable."""

    def __init__(self, seed: int, size: int, log_kappa: float, lr: float, mu: float) -> None:
        self.random, self.size, self.lr, self.mu = np.random.default_rng(seed), size, lr, mu
        axes, curvatures = self.rotation(), 10 ** self.random.uniform(-log_kappa, 0, size)
        hessian = axes * torch.from_numpy(curvatures) @ axes.T
        self.hessian = (hessian + hessian.T) / 2
        self.center, self.start = torch.from_numpy(self.random.standard_normal((2, size)))

    def rotation(self) -> Tensor:
        """A random orthogonal matrix; [size, size]."""
        square = self.random.standard_normal((self.size, self.size))
        return torch.from_numpy(np.linalg.qr(square)[0])

    def path(self, method: Callable[[float, float], Any], scale: float = 1.0, lr: float = 1.0):
        """θ from step to step on scale·f, with lr times the problem's lr."""
        f = Quadratic(scale * self.hessian, self.center)
        return descend(method(lr * self.lr, self.mu), f, self.start, STEPS)

    def path_along(self, method: Callable[[float, float], Any], axes: Tensor):
        """θ from step to step where the parameters are y and θ = axes·y."""
        inverse = torch.linalg.inv(axes)
        f = Quadratic(axes.T @ self.hessian @ axes, inverse @ self.center)
        return descend(method(self.lr, self.mu), f, inverse @ self.start, STEPS) @ axes.T


problems = st.builds(
    Problem,
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(2, 6),
    log_kappa=st.floats(0.0, 3.0),
    lr=st.floats(0.01, 1.0),
    mu=st.floats(0.0, 0.95),
)


def gap(a: Tensor, b: Tensor) -> float:
    """The largest distance between two paths, by the diameter of the first."""
    return ((a - b).norm(dim=1).max() / (a - a[0]).norm(dim=1).max()).item()


@pytest.mark.parametrize("method", LINEAR)
@examples
@given(problem=problems, log_scale=st.floats(-6.0, 6.0))
def test_a_method_without_square_roots_sees_lr_times_the_scale_of_f_alone(
    method, problem, log_scale
):
    """Scale equivariance: c·f at lr/c is f at lr, and a first step on c·f is c times as long."""
    c, make = 10**log_scale, LINEAR[method]
    plain = problem.path(make)
    assert gap(plain, problem.path(make, c, 1 / c)) < 1e-11
    first, longer = plain[1] - plain[0], problem.path(make, c)[1] - plain[0]
    torch.testing.assert_close(longer, c * first, rtol=1e-9, atol=1e-15 * max(1.0, c))


@pytest.mark.parametrize("method", ADAPTIVE | NEWTON)
@examples
@given(problem=problems, log_scale=st.floats(-6.0, 6.0))
def test_an_adaptive_method_does_not_see_the_scale_of_f(method, problem, log_scale):
    make = (ADAPTIVE | NEWTON)[method]
    assert gap(problem.path(make), problem.path(make, 10**log_scale)) < 1e-9


@examples
@given(log_gradient=st.floats(-12.0, 4.0))
def test_eps_takes_adams_invariance_away(log_gradient):
    """A first step is lr·g/(g + eps): half of lr where g = eps, all of it as eps/g goes to 0."""
    g, eps = 10**log_gradient, 1e-8
    f = Quadratic(torch.tensor([g], dtype=torch.float64))
    path = descend(partial(Adam, lr=0.1, eps=eps), f, torch.ones(1, dtype=torch.float64), 1)
    assert (path[0] - path[1]).item() == pytest.approx(0.1 * g / (g + eps), rel=1e-9, abs=1e-16)


@pytest.mark.parametrize("method", LINEAR | NEWTON)
@examples
@given(problem=problems)
def test_a_rotation_of_the_axes_changes_nothing(method, problem):
    make, axes = (LINEAR | NEWTON)[method], problem.rotation()
    assert gap(problem.path(make), problem.path_along(make, axes)) < 1e-10


@examples
@given(problem=problems)
def test_for_newton_no_linear_change_of_variables_changes_anything(problem):
    axes = problem.rotation() * torch.logspace(-1, 1, problem.size).double() @ problem.rotation()
    assert gap(problem.path(NEWTON["Newton"]), problem.path_along(NEWTON["Newton"], axes)) < 1e-8


@pytest.mark.parametrize("method", ADAPTIVE)
@examples
@given(problem=problems)
def test_an_adaptive_method_depends_on_the_axes(method, problem):
    """The paths part by at least 5 % of their diameter, where the axes really are others."""
    make, axes = ADAPTIVE[method], problem.rotation()
    assume(axes.abs().max() < 0.95)  # one near 1 is nearly the axis it was
    assert gap(problem.path(make), problem.path_along(make, axes)) > 0.05


@pytest.mark.parametrize("method", LINEAR | ADAPTIVE | NEWTON)
@examples
@given(
    seed=st.integers(0, 2**32 - 1),
    parts=st.integers(1, 5),
    rows=st.integers(1, 4),
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=3),
)
def test_the_mean_of_micro_batches_is_the_batch(method, seed, parts, rows, shape):
    """Least squares on parts·rows samples, by backward passes of loss/parts that add up."""
    random = np.random.default_rng(seed)
    weight = torch.from_numpy(random.standard_normal(shape))
    inputs = torch.from_numpy(random.standard_normal((parts * rows, weight.numel())))
    targets = torch.from_numpy(random.standard_normal(parts * rows))
    damped = {"Newton": lambda lr, mu: partial(Newton, lr=lr, damping=1.0)}
    make = (LINEAR | ADAPTIVE | damped)[method]

    def end(batches: int) -> Tensor:
        x = torch.nn.Parameter(weight.clone())
        optimizer = make(0.05, 0.9)([x])
        for _ in range(4):
            optimizer.zero_grad()
            if isinstance(optimizer, NAG):
                optimizer.lookahead_()
            for a, b in zip(inputs.chunk(batches), targets.chunk(batches), strict=True):
                loss = ((a @ x.flatten() - b) ** 2).mean() / batches
                optimizer.backward(loss) if isinstance(optimizer, Newton) else loss.backward()
            optimizer.step()
        return x.detach()

    torch.testing.assert_close(end(parts), end(1), rtol=0, atol=1e-10)
