"""Cautious steps: of a method with momentum, only what descends by the gradient of now."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import scratchopt
from scratchopt.engine.operations import RuleError
from tests.shared import paper
from tests.shared.cases import give

SIZES = ((3, 5), (7,), (), (2, 0))


def momentum(theta, s, g, *, lr, momentum):
    s.v = momentum * s.v - lr * g
    return theta - paper.cautious(-s.v, g)


def nag_torch(theta, s, g, *, lr, momentum):
    s.b = momentum * s.b + g
    return theta - paper.cautious(lr * (g + momentum * s.b), g)


def adamw(theta, s, g, *, lr, weight_decay, **rest):
    decayed = (1 - lr * weight_decay) * theta
    return paper.adam_cautious(decayed, s, lambda point: g, lr=lr, **rest)


def lion(theta, s, g, *, lr, betas, weight_decay):
    step = lr * np.sign(betas[0] * s.m + (1 - betas[0]) * g)
    s.m = betas[1] * s.m + (1 - betas[1]) * g
    return (1 - lr * weight_decay) * theta - paper.cautious(step, g)


def around(lines):
    """Caution around the lines of a paper that only add to θ."""

    def cautious(theta, s, g, **settings):
        zero = np.zeros_like(theta)
        return theta - paper.cautious(-lines(zero, s, lambda point: g, **settings), g)

    return cautious


def at(lines):
    return lambda theta, s, g, **settings: lines(theta, s, lambda point: g, **settings)


ADAM: dict[str, Any] = {"lr": 0.01, "betas": (0.8, 0.95)}
MOMENTUM: dict[str, Any] = {"lr": 0.05, "momentum": 0.9}
METHODS = {
    "momentum": (scratchopt.Momentum, momentum, MOMENTUM),
    "nag": (scratchopt.NAG, at(paper.nag_cautious), MOMENTUM),
    "nag_torch": (scratchopt.NAGTorch, nag_torch, MOMENTUM),
    "adam": (scratchopt.Adam, at(paper.adam_cautious), ADAM),
    "amsgrad": (scratchopt.Adam, at(paper.adam_cautious), ADAM | {"amsgrad": True}),
    "nadam": (scratchopt.NAdam, around(paper.nadam), ADAM),
    "radam": (scratchopt.RAdam, around(paper.radam), ADAM),
    "ademamix": (
        scratchopt.AdEMAMix,
        around(paper.ademamix),
        {"lr": 0.01, "betas": (0.8, 0.95, 0.98), "alpha_warmup": 20, "beta3_warmup": 20},
    ),
    "lion": (scratchopt.Lion, lion, ADAM | {"weight_decay": 0.1}),
    "adamw": (scratchopt.AdamW, adamw, ADAM | {"weight_decay": 0.1}),
}


def params(dtype: torch.dtype = torch.float64, sizes=SIZES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, dtype=dtype, generator=generator).requires_grad_() for s in sizes]


def draw(ps: list[Tensor], step: int) -> list[Tensor]:
    """Gradients with zeros among them."""
    generator = torch.Generator().manual_seed(step)
    grads = [torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in ps]
    return [g * (g.abs() > 0.1) for g in grads]


@pytest.mark.parametrize("options", [{}, {"maximize": True}, {"foreach": False}], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_it_is_the_papers_step_masked_and_longer(name, options):
    """To 1e-12 over 100 steps, the decay of weights unmasked; an element whose g is 0 stays."""
    cls, lines, settings = METHODS[name]
    ps, sign = params(), -1 if options.get("maximize") else 1
    optimizer = cls(ps, cautious=True, **settings, **options)
    thetas = [p.detach().numpy().flatten() for p in ps]
    memories = [paper.Memory() for _ in ps]
    for step in range(100):
        grads = draw(ps, step)
        give(optimizer, ps, grads)
        thetas = [
            lines(theta, s, sign * g.numpy().ravel(), **settings) if theta.size else theta
            for theta, s, g in zip(thetas, memories, grads, strict=True)
        ]
    for p, theta in zip(ps, thetas, strict=True):
        np.testing.assert_allclose(p.detach().numpy().ravel(), theta, rtol=0, atol=1e-12)


def test_a_penalty_is_part_of_the_gradient_that_masks():
    ps, qs = params(), params()
    ours = scratchopt.Adam(ps, weight_decay=0.3, cautious=True, **ADAM)
    other = scratchopt.Adam(qs, cautious=True, **ADAM)
    for step in range(20):
        grads = draw(ps, step)
        give(ours, ps, grads)
        give(other, qs, [g + 0.3 * q.detach() for g, q in zip(grads, qs, strict=True)])
    for p, q in zip(ps, qs, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_step_that_p_swallows_still_counts_as_one(dtype):
    """Half the elements move by less than p's last digit, and the others by no more for it."""
    p = torch.tensor([1e6, 1e6, 1.0, 1.0], dtype=dtype, requires_grad=True)
    optimizer = scratchopt.Momentum([p], lr=2.0**-6, momentum=0.0, cautious=True)
    give(optimizer, [p], [torch.ones(4, dtype=dtype)])
    assert p.tolist() == [p[0].item(), p[0].item(), 1 - 2.0**-6, 1 - 2.0**-6]


def test_products_that_underflow_are_compared_all_the_same():
    p = torch.zeros(2, requires_grad=True)
    optimizer = scratchopt.NAGTorch([p], lr=1e-20, momentum=0.0, cautious=True)
    give(optimizer, [p], [torch.tensor([1e-10, 1e-10])])
    assert p.tolist() == pytest.approx([-1e-30, -1e-30], rel=1e-6)


def test_the_factor_is_a_thousand_at_most():
    p = torch.zeros(10_000, requires_grad=True, dtype=torch.float64)
    optimizer = scratchopt.Momentum([p], lr=1.0, momentum=0.5, cautious=True)
    g = torch.zeros_like(p)
    g[0] = 1.0
    give(optimizer, [p], [g])
    assert p[0].item() == -1000


@pytest.mark.parametrize("cls", [scratchopt.NAG, scratchopt.Adam])
def test_compensated_steps_of_bf16_are_those_of_float32(cls):
    ps, qs = params(torch.bfloat16), [p.detach().float().requires_grad_() for p in params()]
    with torch.no_grad():
        for p, q in zip(ps, qs, strict=True):
            q.copy_(p)
    narrow = cls(ps, lr=1e-3, cautious=True, compensated=True)
    wide = cls(qs, lr=1e-3, cautious=True)
    for step in range(50):
        grads = draw(ps, step)
        give(narrow, ps, grads)
        give(wide, qs, [g.float() for g in grads])
    for p, q in zip(ps, qs, strict=True):
        torch.testing.assert_close(p.float(), q, rtol=2**-8, atol=1e-5)


def test_a_group_may_go_without():
    ps, qs = params(), params()
    first, *rest = ps
    groups = [{"params": [first], "cautious": False}, {"params": rest}]
    mixed = scratchopt.Adam(groups, lr=0.1, cautious=True)
    plain = scratchopt.Adam(qs, lr=0.1)
    for step in range(5):
        give(mixed, ps, draw(ps, step))
        give(plain, qs, draw(qs, step))
    assert torch.equal(ps[0], qs[0])
    assert not torch.equal(ps[1], qs[1])


def test_a_copy_and_a_loaded_state_go_on_as_the_optimizer():
    ps = params()
    optimizer = scratchopt.NAG(ps, cautious=True, **MOMENTUM)
    for step in range(5):
        give(optimizer, ps, draw(ps, step))
    twin, qs = copy.deepcopy((optimizer, ps))
    rs = [p.detach().clone().requires_grad_() for p in ps]
    loaded = scratchopt.NAG(rs)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(5, 10):
        for o, xs in ((optimizer, ps), (twin, qs), (loaded, rs)):
            give(o, xs, draw(xs, step))
    assert all(map(torch.equal, ps, qs))
    assert all(map(torch.equal, ps, rs))


def test_autograd_goes_through_it():
    def end(start, g):
        p = start.clone()
        optimizer = scratchopt.Adam([p], lr=0.1, cautious=True, differentiable=True)
        for factor in (1.0, -0.5):
            p.grad = factor * g
            optimizer.step()
        return p

    start, g = (torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(end, (start, g))


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}], ids=str)
def test_what_needs_more_or_less_than_a_tensor_is_refused(options):
    with pytest.raises(RuntimeError, match="as cautious=True takes a mean over each whole tensor"):
        scratchopt.Adam(params(), cautious=True, **options)


def test_complex_parameters_are_refused():
    p = torch.zeros(3, dtype=torch.complex64, requires_grad=True)
    with pytest.raises(RuntimeError, match="as cautious=True takes a mean over each whole tensor"):
        scratchopt.NAG([p], cautious=True)


@pytest.mark.parametrize("cls", [scratchopt.SGD, scratchopt.Adagrad, scratchopt.RMSprop])
def test_methods_without_momentum_have_no_such_option(cls):
    with pytest.raises(TypeError, match="cautious"):
        cls(params(), cautious=True)


class Decaying(scratchopt.Momentum):
    """A rule that decays p itself."""

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v *= momentum
        v -= lr * (g + 0.1 * p)
        p += v


def test_a_rule_that_reads_p_is_refused_before_it_is_wrong():
    Decaying(params())
    with pytest.raises(RuleError, match="rule reads p, and cautious=True makes a part of"):
        Decaying(params(), cautious=True)


def test_it_is_not_torchs():
    with pytest.raises(ValueError, match="has no option cautious"):
        scratchopt.to_torch(scratchopt.Adam(params(), cautious=True))
