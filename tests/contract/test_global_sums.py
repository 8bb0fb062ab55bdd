"""Rules that take sums over all parameters as numbers, held to the same arithmetic in float64."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from scratchopt.engine.operations import RuleError
from tests.contract.test_shapes import Own, params, same, steps, written

DRIVERS: dict[str, dict[str, Any]] = {
    "list": {"foreach": True},
    "loop": {"foreach": False},
    "default": {},
    "compiled": {"fused": True},
    "capturable": {"capturable": True},
    "differentiable": {"differentiable": True},
    "compensated": {"compensated": True},
    "compiled, compensated": {"compensated": True, "fused": True},
}
SIZES = ((3, 5), (7,), ())


class Normalized(Own):
    """θ ← θ − lr·g/‖g‖, with the norm of all parameters' gradients together."""

    shape = "global"

    @staticmethod
    def sums(p, g):
        return {"square": (g * g).sum()}

    @staticmethod
    def rule(p, g, *, lr, square):
        p -= lr * g / square**0.5


class Estimated(Own):
    """A distance that grows, as Prodigy's: d ← max(d, Σg·(θ₀ − θ)/Σ|g|), θ ← θ − lr·d·sign(g)."""

    shape = "global"
    buffers = ("start",)
    kept_numbers = ("distance",)

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor:
        if key == "start":
            return p.detach().clone()
        return torch.tensor(0.125, dtype=torch.float64)

    @staticmethod
    def sums(p, g, start, *, distance):
        return {"along": (distance * g * (start - p)).sum(), "size": g.abs().sum()}

    @staticmethod
    def numbers(*, distance, along, size):
        return {"distance": max(distance, along / (size * distance))}

    @staticmethod
    def rule(p, g, start, *, t, lr, distance):
        p -= lr * distance * g.sign()
        start += 0 * p


def double(ps: list[Tensor]) -> list[Tensor]:
    return [p.detach().clone().double() for p in ps]


def gradients(seed: int = 1) -> Any:
    """Those that `steps` gives."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield [torch.randn(size, generator=generator).double() for size in SIZES]


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
@pytest.mark.parametrize(
    "options",
    [{}, {"maximize": True}, {"weight_decay": 0.5}, {"decoupled": True, "weight_decay": 0.5}],
    ids=str,
)
def test_a_norm_is_that_of_all_groups_whatever_the_driver(driver, options):
    options = dict(options)
    decoupled = options.pop("decoupled", False)
    ps = params(*SIZES)
    if driver.get("differentiable"):
        ps = [p.clone() for p in ps]
    expected = double(ps)
    groups = [{"params": ps[:2]}, {"params": ps[2:], "lr": 0.25}]
    optimizer = Normalized(groups, lr=0.125, **driver, **options)
    for group in optimizer.param_groups:
        group["decoupled_weight_decay"] = decoupled
    decay, sign = options.get("weight_decay", 0.0), -1 if options.get("maximize") else 1
    each = gradients()
    with torch.no_grad():
        steps_on(optimizer, ps, 4)
    for _ in range(4):
        grads = [sign * g for g in next(each)]
        if not decoupled:
            grads = [g + decay * p for g, p in zip(grads, expected, strict=True)]
        norm = torch.stack([(g**2).sum() for g in grads]).sum().sqrt()
        for p, g, lr in zip(expected, grads, (0.125, 0.125, 0.25), strict=True):
            if decoupled:
                p *= 1 - lr * decay
            p -= lr * g / norm
    for p, q in zip(ps, expected, strict=True):
        torch.testing.assert_close(p.detach().double(), q, rtol=1e-6, atol=1e-6)


def steps_on(optimizer: Any, ps: list[Tensor], count: int) -> None:
    """Steps on parameters that need not be leaves."""
    each = gradients()
    for _ in range(count):
        for p, g in zip(ps, next(each), strict=True):
            p.retain_grad()
            p.grad = g.float()
        optimizer.step()


@pytest.mark.parametrize("driver", ["list", "compiled", "capturable"])
def test_sums_may_make_a_number_that_is_kept_and_resumed(driver):
    ps = params(*SIZES)
    optimizer = Estimated(ps, lr=8.0, **DRIVERS[driver])
    steps(optimizer, ps, 30)
    distances = [optimizer.state[p]["distance"].item() for p in ps]
    assert len(set(distances)) == 1
    theta = double(params(*SIZES))
    start, d, each = double(theta), 0.125, gradients()
    for _ in range(30):
        grads = next(each)
        along = sum((g * (s - p)).sum() for g, s, p in zip(grads, start, theta, strict=True))
        d = max(d, float(along / sum(g.abs().sum() for g in grads)))
        for p, g in zip(theta, grads, strict=True):
            p -= 8.0 * d * g.sign()
    assert d > 0.125
    assert distances[0] == pytest.approx(d, rel=1e-5)
    for p, q in zip(ps, theta, strict=True):
        torch.testing.assert_close(p.detach().double(), q, rtol=1e-5, atol=1e-5)

    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh = [p.detach().clone().requires_grad_() for p in ps]
    again = Estimated(fresh, lr=8.0, **DRIVERS[driver])
    again.load_state_dict(torch.load(file, weights_only=True))
    steps(optimizer, ps, 3, seed=2)
    steps(again, fresh, 3, seed=2)
    assert same(ps, fresh)


def test_the_page_s_normalized_descent_moves_all_parameters_by_lr_together():
    ps = params(*SIZES)
    before = double(ps)
    steps(written("normalized")(ps, lr=0.5), ps, 1)
    way = [(p.detach() - b).flatten() for p, b in zip(double(ps), before, strict=True)]
    assert torch.cat(way).norm().item() == pytest.approx(0.5, rel=1e-6)


class NormalizedByDecay(Normalized):
    """The same, with sums that take weight_decay."""

    @staticmethod
    def sums(p, g, *, weight_decay):  # type: ignore[override]
        return {"square": (g * g).sum() + 0 * weight_decay}


def test_sums_that_take_weight_decay_see_the_gradient_of_the_penalty_too():
    ps, qs = params(*SIZES), params(*SIZES)
    steps(Normalized(ps, lr=0.125, weight_decay=0.5), ps, 2)
    steps(NormalizedByDecay(qs, lr=0.125, weight_decay=0.5), qs, 2)
    assert all(map(torch.equal, ps, qs))


def test_complex_numbers_are_pairs_and_parameters_without_a_gradient_have_no_part():
    ps = params((3,), (2,), dtype=torch.complex64)
    before = [p.detach().clone() for p in ps]
    optimizer = Normalized(ps, lr=1.0)
    ps[0].grad = torch.tensor([3.0, 4.0j, 0.0])
    optimizer.step()
    torch.testing.assert_close(ps[0].detach(), before[0] - ps[0].grad / 5)
    assert torch.equal(ps[1], before[1])


def test_autograd_goes_through_the_sums():
    gradient = torch.tensor([3.0, 4.0], dtype=torch.float64)

    def end(g: Tensor) -> Tensor:
        p = torch.zeros(2, dtype=torch.float64, requires_grad=True).clone()
        p.retain_grad()
        p.grad = g
        Normalized([p], lr=1.0, differentiable=True).step()
        return p

    assert torch.autograd.gradcheck(end, (gradient.requires_grad_(),))


def _sums_of_nothing(p, g):
    return (g * g).sum()


def _sums_of_rows(p, g):
    return {"square": (g * g).sum(1)}


def _sums_that_write(p, g):
    g *= 2
    return {"square": g.sum()}


def _sums_of_lr(p, g):
    return {"square": g.sum(), "lr": g.sum()}


def _sums_of_mu(p, g, *, mu):
    return {"square": mu * g.sum()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sums": staticmethod(_sums_of_nothing)}, "must return sums over a tensor's elements"),
        ({"sums": staticmethod(_sums_of_rows)}, "must return sums over a tensor's elements"),
        ({"sums": staticmethod(_sums_that_write)}, "must leave p, g and the buffers"),
        ({"sums": staticmethod(_sums_of_lr)}, "returns lr, a name that is taken"),
        ({"sums": staticmethod(_sums_of_mu)}, "takes mu, which is neither in its param group nor"),
        ({"sums": None}, "no sums: add a static method"),
        ({"shape": "elementwise"}, 'has sums, and shape = .elementwise.: declare shape = "global"'),
        ({"shape": "tensor"}, 'has sums, and shape = .tensor.: declare shape = "global"'),
    ],
)
def test_sums_that_are_none_are_refused_in_one_line(changes, said):
    cls = type("Mine", (Normalized,), changes)
    with pytest.raises(RuleError, match=said) as refusal:
        cls(params((3, 2)))
    assert "\n" not in str(refusal.value)
