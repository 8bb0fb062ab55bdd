"""θ, which is kept while parameters are at their gradient point, and updated where it was kept."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

import scratchopt
from scratchopt.engine import sorting
from tests.shared.cases import DRIVERS, give

DRIVER = pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)


def add(p, v, *, lr):
    p += lr * v


def multiply(p, v, *, lr):
    p *= 1 - lr
    p += v


def divide(p, v, *, lr):
    p /= 1 + lr
    p -= v


def mix(p, v, *, lr):
    p += lr * (v - p)


def add_product(p, v, *, lr):
    p += lr * v * p


def add_quotient(p, v, *, lr):
    p -= lr * v / (p * p + 1)


def bound(p, v, *, lr):
    p.clamp_min_(v)
    p.clamp_max_(lr)


def bound_by_number(p, v, *, lr):
    p.clamp_max_(lr)
    p *= v


def shift(p, v, *, lr):
    p += lr
    p *= v


def use_before_and_after(p, v, *, lr):
    before = lr * p
    p += v
    p -= before + lr * p


WRITES = [
    *(add, multiply, divide, mix, add_product, add_quotient),
    *(bound, bound_by_number, shift, use_before_and_after),
]


def make_method(update: Callable[..., None]) -> Any:
    """A method whose gradient point is θ + v, and whose rule updates p by `update`."""

    class Mine(scratchopt.Optimizer):
        buffers = ("velocity",)

        def __init__(self, params, lr=0.25, **options):
            super().__init__(params, {"lr": lr}, **options)

        @staticmethod
        def gradient_point(p, v):
            p += v

        @staticmethod
        def rule(p, g, v, *, lr):
            v *= 0.5
            v -= lr * g
            update(p, v, lr=lr)

    return Mine


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
@pytest.mark.parametrize(
    ("update", "driver"),
    [
        pytest.param(update, DRIVERS[driver], id=f"{update.__name__}-{driver}")
        for update in WRITES
        for driver in ("list", "loop", "compiled")
        if driver != "compiled" or update in (mix, use_before_and_after)  # they take a second
    ],
)
def test_a_step_from_the_theta_that_was_kept_is_that_of_theta_given_back(
    update, dtype, driver, monkeypatch
):
    """To the last bit, whatever writes p first."""
    ends, reads = [], []
    starts = sorting._starts_from
    for allowed in (True, False):

        def starts_from(*arguments: Any, allowed=allowed) -> bool:
            reads.append(allowed and starts(*arguments))
            return reads[-1]

        monkeypatch.setattr(sorting, "_starts_from", starts_from)
        monkeypatch.setattr(sorting, "LARGE", 0)
        torch.manual_seed(0)
        params = [Parameter(torch.randn(shape, dtype=dtype)) for shape in ((3, 5), (), (70,))]
        optimizer = make_method(update)(params, **driver)
        for _ in range(4):
            give(optimizer, params, [torch.randn_like(p) for p in params])
        ends.append([p.detach() for p in params] + [optimizer.state[p]["velocity"] for p in params])
    assert any(reads)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def take_steps(p: Tensor, grads: list[Tensor], **options: Any) -> tuple[Tensor, Tensor]:
    optimizer = scratchopt.NAG([p], lr=0.5, **options)
    for g in grads:
        give(optimizer, [p], [g])
    return p.detach(), optimizer.state[p]["velocity"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("driver", [{"fused": True}, {}], ids=["compiled", "default"])
@pytest.mark.parametrize("offset", [0, 1])
def test_what_is_too_large_for_the_caches_is_updated_as_what_is_small(dtype, driver, offset):
    """A small tensor again and again, from an address that is good for wide stores, and not."""
    small, times = torch.randn(1000, dtype=dtype), 4501
    grads = [torch.randn(1000, dtype=dtype) for _ in range(3)]
    memory = torch.zeros(times * 1000 + offset, dtype=dtype)
    large = memory[offset:].copy_(small.repeat(times)).requires_grad_()
    ends = take_steps(large, [g.repeat(times) for g in grads], **driver)
    for a, b in zip(ends, take_steps(small.clone().requires_grad_(), grads, **driver), strict=True):
        assert torch.equal(a.view(times, 1000), b.expand(times, 1000))


@DRIVER
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_parameter_without_a_gradient_is_given_back_and_the_others_step(
    missing, driver, monkeypatch
):
    monkeypatch.setattr(sorting, "LARGE", 0)
    params, alone = [[Parameter(torch.full((4,), float(i))) for i in range(3)] for _ in range(2)]
    together = scratchopt.NAG(params, lr=0.25, **driver)
    apart = [scratchopt.NAG([p], lr=0.25, **driver) for p in alone]
    for step in range(5):
        grads: list[Tensor | None] = [torch.randn(4) for _ in params]
        if step in (2, 3):
            grads[missing] = None
        give(together, params, grads)
        for optimizer, p, g in zip(apart, alone, grads, strict=True):
            give(optimizer, [p], [g])
        assert not together.ahead
        assert all(map(torch.equal, params, alone))


@DRIVER
def test_theta_is_given_back_if_the_update_fails(driver, monkeypatch):
    monkeypatch.setattr(sorting, "LARGE", 0)
    params = [Parameter(torch.randn(4)) for _ in range(3)]
    optimizer = scratchopt.NAG(params, lr=0.25, **driver)
    give(optimizer, params, [torch.randn(4) for _ in params])
    theta = [p.detach().clone() for p in params]
    optimizer.lookahead_()
    optimizer.state[params[1]]["velocity"].resize_(7)
    with pytest.raises(RuntimeError, match="size"):
        optimizer.step()
    assert not optimizer.ahead
    assert all(map(torch.equal, params, theta))


@DRIVER
def test_theta_is_given_back_if_the_move_fails(driver):
    params = [Parameter(torch.randn(4)) for _ in range(2)]
    groups = [{"params": [p]} for p in params]
    optimizer = scratchopt.NAG(groups, lr=0.25, **driver)
    give(optimizer, params, [torch.randn(4) for _ in params])
    theta = [p.detach().clone() for p in params]
    for _ in range(2):  # the first group has moved when the second cannot
        optimizer.state[params[1]]["velocity"].resize_(7)
        with pytest.raises(RuntimeError, match="size"):
            optimizer.lookahead_()
        assert not optimizer.ahead
        assert all(map(torch.equal, params, theta))


@DRIVER
def test_a_model_that_is_converted_while_ahead_comes_back_to_theta(driver):
    model = torch.nn.Linear(3, 2)
    optimizer = scratchopt.NAG(model.parameters(), lr=0.25, **driver)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    theta = [p.detach().clone() for p in model.parameters()]
    optimizer.lookahead_()
    model.double()
    optimizer.restore_()
    assert all(torch.equal(p, t.double()) for p, t in zip(model.parameters(), theta, strict=True))


@DRIVER
def test_parameters_that_are_tied_after_steps_are_updated_one_after_the_other(driver, monkeypatch):
    monkeypatch.setattr(sorting, "LARGE", 0)
    start = [torch.randn(4), torch.randn(4)]
    ends = []
    for options in (driver, {"foreach": False, "differentiable": False}):
        params = [Parameter(t.clone()) for t in start]
        optimizer = scratchopt.NAG(params, lr=0.25, **options)
        for step in range(4):
            if step == 2:
                params[1].data = params[0].data
            give(optimizer, params, [t * (step + 1) for t in start])
            theta = params[0].detach().clone()
            optimizer.lookahead_()
            optimizer.restore_()
            assert torch.equal(params[0], theta)
        ends.append(params[0].detach().clone())
    torch.testing.assert_close(*ends)


@DRIVER
def test_a_parameter_that_begins_late_is_updated_in_the_memory_that_it_shares(driver, monkeypatch):
    monkeypatch.setattr(sorting, "LARGE", 0)
    base = torch.zeros(6)
    early, late = Parameter(base[:4]), Parameter(base[2:])
    optimizer = scratchopt.NAG([late, early], lr=1.0, momentum=0.5, **driver)
    for grad in (None, torch.ones(4)):  # late has no velocity yet, and is where it was
        optimizer.lookahead_()
        early.grad, late.grad = torch.ones(4), grad
        optimizer.step()
    assert base.tolist() == [-2.5, -2.5, -3.5, -3.5, -1.0, -1.0]


@DRIVER
def test_a_copy_of_an_optimizer_keeps_its_own_theta(driver):
    p = Parameter(torch.randn(4))
    optimizer = scratchopt.NAG([p], lr=0.25, **driver)
    for _ in range(2):
        give(optimizer, [p], [torch.ones(4)])
    other = copy.deepcopy(optimizer)
    (q,) = other.param_groups[0]["params"]
    optimizer.lookahead_()
    give(other, [q], [torch.ones(4)])
    assert optimizer.ahead
    optimizer.restore_()
    give(optimizer, [p], [torch.ones(4)])
    assert torch.equal(p, q)
