"""Every figure that the article prints, from the optimizers in a plain torch loop.

The article is right to the last printed digit: float32 on the toy function, float64 elsewhere.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from scratchopt import NAG, SGD, Momentum, NAGTorch, Newton
from scratchopt.problems.descent import minimize
from scratchopt.problems.functions import functions

MINIMUM = -1.30644  # as the article has it; it calls |x - MINIMUM| <= 1e-6 converged


def toy(x: Tensor) -> Tensor:
    return torch.sin(x) + x**2 / 10


def evaluated_points(
    make: Callable, start: float, steps: int = 1000, dtype: torch.dtype = torch.float32
) -> list[float]:
    """The points where the gradient was evaluated, up to the first within tolerance."""
    x = torch.nn.Parameter(torch.tensor([start], dtype=dtype))
    optimizer = make([x])
    points: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        points.append(x.item())
        loss = toy(x).sum()
        (optimizer.backward if isinstance(optimizer, Newton) else Tensor.backward)(loss)
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        if (torch.tensor(points[-1]) - torch.tensor(MINIMUM)).abs() <= 1e-6:
            break
    return points


CONVERGES = {
    "sgd-from-left": (lambda p: SGD(p, lr=1.0), -8.0, 17),  # the article prints 16, the updates
    "momentum-from-right": (lambda p: Momentum(p, lr=0.1, momentum=0.9), 8.0, 216),
    "momentum-from-left": (lambda p: Momentum(p, lr=1.0, momentum=0.9), -8.0, 222),
    "momentum-as-nag": (lambda p: Momentum(p, lr=1.0, momentum=0.9), 8.0, 251),
    "nag-from-left": (lambda p: NAG(p, lr=1.0, momentum=0.9), -8.0, 34),
    "nag-from-right": (lambda p: NAG(p, lr=1.0, momentum=0.9), 8.0, 27),
    "nag_torch-from-left": (lambda p: NAGTorch(p, lr=1.0, momentum=0.9), -8.0, 34),
    "nag_torch-from-right": (lambda p: NAGTorch(p, lr=1.0, momentum=0.9), 8.0, 27),
}


@pytest.mark.parametrize(("make", "start", "evaluations"), CONVERGES.values(), ids=CONVERGES)
def test_toy_converges_after_the_articles_number_of_evaluations(make, start, evaluations):
    assert len(evaluated_points(make, start)) == evaluations


@pytest.mark.parametrize(("make", "start", "evaluations"), CONVERGES.values(), ids=CONVERGES)
def test_a_descent_has_the_points_of_a_plain_loop(make, start, evaluations):
    descent = minimize(functions()["article"], make, start)
    assert descent.points.flatten().tolist() == evaluated_points(make, start)
    assert descent.updates == evaluations - 1


def test_sgd_visits_the_17_printed_points():
    printed = """-8.0000 -6.2545 -6.0032 -5.7636 -5.4789 -5.0768 -4.4178 -3.2439 -1.6003
    -1.2507 -1.3152 -1.3050 -1.3067 -1.3064 -1.3064 -1.3064 -1.3064"""
    points = evaluated_points(lambda p: SGD(p, lr=1.0), -8.0)
    assert [f"{x:.4f}" for x in points] == printed.split()


def test_sgd_from_the_right_is_stuck_in_the_local_minimum():
    points = evaluated_points(lambda p: SGD(p, lr=1.0), 8.0, steps=20)
    assert len(points) == 20
    assert f"{points[-1]:.5f}" == "3.83747"


@pytest.mark.parametrize(
    ("start", "lr", "printed"),
    [
        (8.0, 0.1, {0: ("8.0000", "7.3894"), 100: ("-1.2908", "-0.7944"), 200: ("-1.3065",)}),
        (-8.0, 1.0, {0: ("-8.0000", "5.4106"), 100: ("-1.2936", "-0.7945"), 200: ("-1.3064",)}),
    ],
)
def test_momentum_prints_the_articles_rows(start, lr, printed):
    points = evaluated_points(lambda p: Momentum(p, lr=lr, momentum=0.9), start)
    for i, row in printed.items():
        x = torch.tensor(points[i])
        assert (f"{x:.4f}", f"{toy(x):.4f}")[: len(row)] == row


def test_nag_torch_equals_torchs_nesterov_bit_for_bit_on_the_toy_function():
    ours = evaluated_points(lambda p: NAGTorch(p, lr=1.0, momentum=0.9), 8.0)
    theirs = evaluated_points(
        lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, nesterov=True), 8.0
    )
    assert ours == theirs


def test_newton_prints_the_articles_twelve_rows():
    printed = """-5.94388576 -7.79433605 -6.54310103 -5.79428433 -6.81783809 -6.10875844
    2.84660556 -1.42425821 -1.30751773 -1.30644014 -1.30644001 -1.30644001"""
    x = torch.nn.Parameter(torch.tensor([-5.0], dtype=torch.float64))
    optimizer = Newton([x])
    rows = []
    for _ in range(12):
        optimizer.zero_grad()
        optimizer.backward(toy(x).sum())
        optimizer.step()
        rows.append(f"{x.item():.8f}")
    assert rows == printed.split()


def test_undamped_newton_finds_the_maximum_and_damped_newton_does_not():
    def end(damping: float) -> float:
        x = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
        optimizer = Newton([x], damping=damping)
        for _ in range(200):
            optimizer.zero_grad()
            optimizer.backward(toy(x).sum())
            optimizer.step()
        return x.item()

    assert end(0.0) == pytest.approx(1.977383029329, abs=1e-12)
    assert end(2.0) == pytest.approx(3.837467106499, abs=1e-9)


class Regression:
    """The article's data and parameters, in its order of draws."""

    def __init__(self) -> None:
        random = np.random.RandomState(0)
        x = 2 * random.rand(100, 1)
        y = 4 + 3 * x + random.randn(100, 1)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.slope = torch.nn.Parameter(torch.tensor(random.randn() * 12))
        self.intercept = torch.nn.Parameter(torch.tensor(random.randn() * -9))
        self.slope.data, self.intercept.data = self.slope.double(), self.intercept.double()

    def parameters(self) -> list[Tensor]:
        return [self.slope, self.intercept]

    def loss(self) -> Tensor:
        return ((self.y - (self.x * self.slope + self.intercept)) ** 2).mean()


@pytest.fixture(scope="module")
def descent() -> dict[str, list]:
    """Gradient descent on the regression for 50,000 steps: losses and gradients by step."""
    problem = Regression()
    optimizer = SGD(problem.parameters(), lr=0.05)
    losses, gradients = [], []
    for _ in range(50_000):
        optimizer.zero_grad()
        loss = problem.loss()
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad.item() for p in problem.parameters() if p.grad is not None])
        optimizer.step()
    return {"losses": losses, "gradients": gradients, "end": problem.parameters()}


def test_regression_prints_the_articles_losses(descent):
    printed = ["20.0717", "4.7583", "1.7357", "1.1392", "1.0214"]
    printed += ["0.9982", "0.9936", "0.9927", "0.9925"] + ["0.9924"] * 11
    assert [f"{loss:.4f}" for loss in descent["losses"][:1000:50]] == printed


def test_regression_prints_the_articles_gradients(descent):
    assert [f"{g:.4f}" for g in descent["gradients"][0]] == ["-2.2857", "2.6574"]
    assert [f"{g:.4e}" for g in descent["gradients"][999]] == ["-2.1221e-07", "2.3915e-07"]


def test_regression_reaches_its_floor_and_least_squares(descent):
    gradnorms = [np.hypot(*g) for g in descent["gradients"]]
    assert gradnorms[999] > 1e-8
    assert max(gradnorms[-1000:]) < 1e-13
    least_squares = 2.968467510701021, 4.222151077447227
    for p, value in zip(descent["end"], least_squares, strict=True):
        assert abs(p.item() - value) <= 2.4e-14


def test_newton_solves_the_regression_in_one_step():
    problem = Regression()
    optimizer = Newton(problem.parameters())
    optimizer.backward(problem.loss())
    optimizer.step()
    assert problem.slope.item() == pytest.approx(2.968467510701021, abs=1e-12)
    assert problem.intercept.item() == pytest.approx(4.222151077447227, abs=1e-12)
