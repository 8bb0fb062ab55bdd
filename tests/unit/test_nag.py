"""The exact NAG: where the gradient is taken, and where the parameters rest."""

import copy
import math
import pickle

import pytest
import torch

from scratchopt import NAG, NAGTorch
from tests.shared.cases import take_step


def f(x):
    return torch.sin(x) + x**2 / 10


def gradient(x: float) -> float:
    return math.cos(x) + x / 5


def step_decay(step: int) -> tuple[float, float]:
    return 0.5 * 0.5 ** (step // 10), 0.9


def one_cycle(steps: int) -> list[tuple[float, float]]:
    """The (lr, momentum) pairs that torch's OneCycleLR hands out."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=steps)
    pairs = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        pairs.append((float(group["lr"]), float(group["momentum"])))
        optimizer.step()
        if len(pairs) < steps:
            scheduler.step()
    return pairs


def paper(start: float, schedule: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Sutskever et al. (2013), equations 3 and 4, in plain floats: (θ, θ + μv) by step."""
    theta, v, points = start, 0.0, []
    for lr, mu in schedule:
        points.append((theta, theta + mu * v))
        v = mu * v - lr * gradient(theta + mu * v)
        theta = theta + v
    return points


def run(cls, start: float, make_scheduler, steps: int) -> list[tuple[float, float]]:
    """(θ between steps, point of evaluation) by step, under a torch scheduler."""
    x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = cls([x], lr=0.5, momentum=0.9)
    scheduler = make_scheduler(optimizer)
    points = []
    for step in range(steps):
        theta = x.item()

        def loss():
            points.append((theta, x.item()))  # noqa: B023
            return f(x)

        take_step(optimizer, loss)
        if step < steps - 1:
            scheduler.step()
    return points


STEPS = 60
SCHEDULES = {
    "step-decay": (
        [step_decay(i) for i in range(STEPS)],
        lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=10, gamma=0.5),
    ),
    "one-cycle": (
        one_cycle(STEPS),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=STEPS),
    ),
}


@pytest.mark.parametrize(("schedule", "scheduler"), SCHEDULES.values(), ids=SCHEDULES)
def test_theta_and_lookahead_follow_the_paper_under_a_schedule(schedule, scheduler):
    ours = run(NAG, 2.5, scheduler, STEPS)
    for (theta, ahead), (paper_theta, paper_ahead) in zip(ours, paper(2.5, schedule), strict=True):
        assert theta == pytest.approx(paper_theta, abs=1e-12)
        assert ahead == pytest.approx(paper_ahead, abs=1e-12)


@pytest.mark.parametrize(("schedule", "scheduler"), SCHEDULES.values(), ids=SCHEDULES)
def test_torchs_form_visibly_parts_from_the_paper_under_a_schedule(schedule, scheduler):
    theirs = run(NAGTorch, 2.5, scheduler, STEPS)
    apart = max(
        abs(x - ahead) for (_, x), (_, ahead) in zip(theirs, paper(2.5, schedule), strict=True)
    )
    assert apart > 1e-3


def test_torchs_form_is_the_lookahead_point_while_nothing_is_scheduled():
    constant = lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0)  # noqa: E731
    exact, theirs = run(NAG, 2.5, constant, STEPS), run(NAGTorch, 2.5, constant, STEPS)
    assert max(abs(a[1] - b[1]) for a, b in zip(exact, theirs, strict=True)) < 1e-14


@pytest.fixture
def moving():
    """A parameter and its NAG after two steps, so that there is a velocity."""
    x = torch.nn.Parameter(torch.tensor([2.5, -4.0]))
    optimizer = NAG([x], lr=0.3, momentum=0.9)
    for _ in range(2):
        take_step(optimizer, lambda: f(x).sum())
    return x, optimizer


def test_lookahead_and_restore_are_exact_and_idempotent(moving):
    x, optimizer = moving
    theta, v = x.detach().clone(), optimizer.state[x]["velocity"].clone()
    for _ in range(2):
        optimizer.lookahead_()
        assert optimizer.ahead
        assert torch.equal(x, torch.add(theta, v, alpha=0.9))
    for _ in range(2):
        optimizer.restore_()
        assert not optimizer.ahead
        assert torch.equal(x, theta)


def test_a_checkpoint_away_from_theta_is_warned_of(moving):
    _, optimizer = moving
    optimizer.state_dict()
    optimizer.lookahead_()
    for save in (lambda o: o.state_dict(), copy.deepcopy, pickle.dumps):
        with pytest.warns(UserWarning, match=r"call restore_\(\) before"):
            save(optimizer)
    optimizer.restore_()
    optimizer.state_dict()


def test_a_parameter_that_is_frozen_stays_at_theta(moving):
    x, optimizer = moving
    theta = x.detach().clone()
    x.requires_grad_(False)
    optimizer.lookahead_()
    assert torch.equal(x, theta)
    optimizer.restore_()
    x.requires_grad_(True)
    optimizer.lookahead_()
    assert not torch.equal(x, theta)


def test_a_lookahead_before_equals_a_closure(moving):
    x, optimizer = moving
    y = torch.nn.Parameter(x.detach().clone())
    other = NAG([y], lr=0.3, momentum=0.9)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(5):
        take_step(optimizer, lambda: f(x).sum())
        other.lookahead_()
        other.zero_grad()
        f(y).sum().backward()
        other.step()
        assert torch.equal(x, y)


def test_a_step_without_lookahead_is_refused_and_changes_nothing(moving):
    x, optimizer = moving
    theta = x.detach().clone()
    with pytest.raises(RuntimeError, match="call lookahead_"):
        optimizer.step()
    assert torch.equal(x, theta)


def test_gradients_accumulated_at_theta_are_refused(moving):
    x, optimizer = moving
    theta = x.detach().clone()
    optimizer.zero_grad()
    f(x).sum().backward()  # the first micro-batch, at θ

    def second():
        loss = f(x).sum()
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="taken before its lookahead"):
        optimizer.step(second)
    assert torch.equal(x, theta)
    assert not optimizer.ahead


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_zeroed_gradients_are_not_mistaken_for_accumulated_ones(moving, set_to_none, inside):
    x, optimizer = moving
    f(x).sum().backward()
    if not inside:
        optimizer.zero_grad(set_to_none)

    def closure():
        if inside:
            optimizer.zero_grad(set_to_none)
        loss = f(x).sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def test_theta_is_restored_when_the_closure_raises(moving):
    x, optimizer = moving
    theta = x.detach().clone()

    def closure():
        assert not torch.equal(x, theta)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert torch.equal(x, theta)
    assert not optimizer.ahead


def test_weight_decay_is_the_gradient_of_the_penalty_at_the_lookahead_point():
    x = torch.nn.Parameter(torch.tensor(2.5, dtype=torch.float64))
    y = torch.nn.Parameter(torch.tensor(2.5, dtype=torch.float64))
    decayed, penalized = NAG([x], lr=0.3, weight_decay=0.2), NAG([y], lr=0.3)
    for _ in range(20):
        take_step(decayed, lambda: f(x))
        take_step(penalized, lambda: f(y) + 0.1 * y**2)
    assert x.item() == pytest.approx(y.item(), abs=1e-14)


def test_a_momentum_changed_after_the_lookahead_is_refused_and_theta_kept():
    x = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = NAG([x], lr=0.25, momentum=0.5)
    for _ in range(2):
        optimizer.lookahead_()
        optimizer.zero_grad()
        (x**2).sum().backward()
        optimizer.step()
    theta = x.item()
    optimizer.lookahead_()
    (x**2).sum().backward()
    optimizer.param_groups[0]["momentum"] = 0.75
    with pytest.raises(RuntimeError, match=r"from \(0.5,\) to \(0.75,\) between its lookahead"):
        optimizer.step()
    assert x.item() == theta
    optimizer.lookahead_()
    v = optimizer.state[x]["velocity"].item()
    assert x.item() == theta + 0.75 * v


def test_a_second_lookahead_follows_a_changed_momentum():
    x = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = NAG([x], lr=0.25, momentum=0.5)
    optimizer.lookahead_()
    (x**2).sum().backward()
    optimizer.step()
    theta, v = x.item(), optimizer.state[x]["velocity"].item()
    optimizer.lookahead_()
    optimizer.param_groups[0]["momentum"] = 0.75
    optimizer.lookahead_()
    assert x.item() == theta + 0.75 * v
    optimizer.restore_()
    assert x.item() == theta


def test_the_first_step_needs_no_lookahead_and_the_second_does():
    x = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = NAG([x], lr=0.25, momentum=0.5)
    (x**2).sum().backward()
    optimizer.step()
    assert x.item() == 0.5
    with pytest.raises(RuntimeError, match="needs its gradient at the lookahead point"):
        optimizer.step()
