"""Schedule-Free: the authors' reference classes, the paper's lines, and where parameters rest."""

import copy
import io
import os
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scratchopt import Adam, ScheduleFreeAdamW, ScheduleFreeSGD
from scratchopt.stability import preconditioner
from tests.shared import paper
from tests.shared.cases import take_step

SIZES = ((3, 5), (7,), ())
REFERENCES = {
    ScheduleFreeSGD: "sgd_schedulefree_reference.SGDScheduleFreeReference",
    ScheduleFreeAdamW: "adamw_schedulefree_reference.AdamWScheduleFreeReference",
}
LINES = {ScheduleFreeSGD: paper.schedule_free_sgd, ScheduleFreeAdamW: paper.schedule_free_adamw}
BETA: dict[Any, dict[str, Any]] = {
    ScheduleFreeSGD: {"momentum": 0.7},
    ScheduleFreeAdamW: {"betas": (0.7, 0.95), "eps": 1e-4},
}
SETTINGS = {
    "defaults": {},
    "decay": {"weight_decay": 0.1},
    "warm-up": {"warmup_steps": 30},
    "all": {"weight_decay": 0.1, "warmup_steps": 30, "r": 1.5, "weight_lr_power": 1.0},
    "lr-0": {"lr": 0.0},
}
CLASS = pytest.mark.parametrize("cls", LINES, ids=lambda cls: cls.__name__)


def reference(cls: type) -> Any:
    """The authors' literal class; the package is in the extra `dev`."""
    if "CI" not in os.environ:
        pytest.importorskip("schedulefree")
    module, _, name = REFERENCES[cls].partition(".")
    return getattr(import_module(f"schedulefree.{module}"), name)


def params() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in SIZES
    ]


def f(x: Tensor) -> Tensor:
    return (torch.sin(3 * x) + x**2).sum()


def noise(step: int, ps: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in ps]


def give_gradients(ps: list[Tensor], step: int) -> None:
    """The gradient of f where the parameters are, with noise."""
    for p, eps in zip(ps, noise(step, ps), strict=True):
        (p.grad,) = torch.autograd.grad(f(p), [p])
        p.grad += eps


def take_steps(optimizer: Any, ps: list[Tensor], steps: Any) -> None:
    for step in steps:
        optimizer.lookahead_()
        give_gradients(ps, step)
        optimizer.step()


def same(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-12) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SETTINGS)
@CLASS
def test_100_random_steps_are_those_of_the_authors_reference(cls, name, capsys):
    """To 1e-12, x between steps and y where the gradient is taken; lr falls by half at step 50."""
    settings = {"lr": 0.05} | BETA[cls] | SETTINGS[name]
    ps, qs = params(), params()
    ours, theirs = cls(ps, **settings), reference(cls)(qs, **settings)
    theirs.train()
    for step in range(100):
        if step == 50:
            for optimizer in (ours, theirs):
                optimizer.param_groups[0]["lr"] *= 0.5
        ours.lookahead_()
        same(ps, qs)
        give_gradients(ps, step)
        give_gradients(qs, step)
        ours.step()
        theirs.step()
        same(ps, [theirs.state[q]["x"] for q in qs])
        same([ours.state[p]["z"] for p in ps], [theirs.state[q]["z"] for q in qs])
    group = theirs.param_groups[0]
    for p in ps:
        state = ours.state[p]
        assert (state["step"], state["lr_max"]) == (group["k"], group["lr_max"])
        assert float(state["weight_sum"]) == pytest.approx(group["weight_sum"], rel=1e-14)


@pytest.mark.parametrize("name", SETTINGS)
@CLASS
def test_100_random_steps_are_the_papers_lines(cls, name):
    settings = {"lr": 0.05} | BETA[cls] | SETTINGS[name]
    decay = settings.get("weight_decay", 0.0)
    ps = params()
    take_steps(optimizer := cls(ps, **settings), ps, range(100))
    if cls is ScheduleFreeSGD:
        settings.pop("weight_decay", None)  # the gradient has it
    else:
        decay = 0.0
    for i, p in enumerate(ps):
        theta, s = params()[i].detach().numpy(), paper.Memory()
        for step in range(100):

            def gradient(y, step=step, i=i):
                slope = 3 * np.cos(3 * y) + 2 * y + noise(step, ps)[i].numpy()
                return slope + decay * y

            theta = LINES[cls](theta, s, gradient, **settings)
        np.testing.assert_allclose(p.detach().numpy(), theta, rtol=0, atol=1e-12)
        np.testing.assert_allclose(optimizer.state[p]["z"].numpy(), s.z, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{"foreach": True}, {"foreach": False}, {"fused": True}, {"differentiable": True}],
    ids=str,
)
@CLASS
def test_every_driver_takes_the_same_steps(cls, options):
    """Also a parameter that is updated where its x was kept, as it is large."""
    settings = BETA[cls] | {"lr": 0.05, "weight_decay": 0.1, "warmup_steps": 5}
    ends: list[Any] = []
    for own in (options, {}):
        ps = [*params(), torch.ones(2**17, dtype=torch.float64, requires_grad=True)]
        if "differentiable" in own:
            ps = [p.clone() for p in ps]
        optimizer = cls(ps, **settings, **own)
        for step in range(10):
            optimizer.lookahead_()
            for p, eps in zip(ps, noise(step, ps), strict=True):
                p.grad = 2 * p.detach() + eps
            optimizer.step()
        ends.append([*ps, *(optimizer.state[p]["z"] for p in ps)])
    ours, theirs = ends
    tolerance = 1e-7 if "differentiable" in options else 1e-12  # there t is a float32, as torch's
    same(ours, theirs, tolerance)


@CLASS
def test_compensated_steps_of_bf16_do_not_stall(cls):
    """A c of 1/t makes steps of x that bf16 swallows: compensated, x is that of float32."""
    ends = []
    for dtype, compensated in ((torch.float32, False), (torch.bfloat16, True)):
        p = torch.full((64,), 3.0, dtype=dtype, requires_grad=True)
        optimizer = cls([p], lr=2.0**-8, compensated=compensated)
        for _ in range(500):
            optimizer.lookahead_()
            p.grad = torch.ones_like(p)
            optimizer.step()
        ends.append(p.detach().float())
    torch.testing.assert_close(*ends, rtol=2**-8, atol=0)


@CLASS
def test_between_steps_the_parameters_are_x_and_nobody_calls_train_or_eval(cls):
    assert not hasattr(cls, "train")
    assert not hasattr(cls, "eval")
    ps = params()
    optimizer = cls(ps, lr=0.05)
    take_steps(optimizer, ps, range(5))
    x = [p.detach().clone() for p in ps]
    optimizer.lookahead_()
    z = [optimizer.state[p]["z"] for p in ps]
    same(ps, [0.9 * a + 0.1 * b for a, b in zip(x, z, strict=True)], 1e-15)
    optimizer.restore_()
    assert all(map(torch.equal, ps, x))


@CLASS
def test_a_gradient_at_x_is_refused(cls):
    ps = params()
    optimizer = cls(ps, lr=0.05)
    take_steps(optimizer, ps, range(2))
    give_gradients(ps, 2)
    with pytest.raises(RuntimeError, match=r"needs its gradient at the lookahead point: call look"):
        optimizer.step()


@CLASS
def test_a_saved_and_loaded_state_goes_on_to_the_bit(cls):
    """Also in bf16, to which torch casts what it loads: Σw and the largest γ keep their digits."""
    settings = {"lr": 0.05, "warmup_steps": 7, "r": 0.5}
    for dtype in (torch.float64, torch.bfloat16):
        ps = [p.detach().to(dtype).requires_grad_() for p in params()]
        optimizer = cls(ps, **settings)
        take_steps(optimizer, ps, range(5))
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        qs = [p.detach().clone().requires_grad_() for p in ps]
        loaded = cls(qs, lr=9.0)
        loaded.load_state_dict(torch.load(file, weights_only=True))
        rs = copy.deepcopy(optimizer)
        for o, xs in ((optimizer, ps), (loaded, qs), (rs, rs.param_groups[0]["params"])):
            take_steps(o, xs, range(5, 10))
            assert all(map(torch.equal, xs, ps))
        for p, q in zip(ps, qs, strict=True):
            assert optimizer.state[p]["weight_sum"] == loaded.state[q]["weight_sum"]


@CLASS
def test_a_parameter_that_joins_late_begins_at_its_own_first_step(cls):
    """Its z is where it is then, and its warm-up and its average are its own."""
    late, alone, other = (torch.full((3,), 2.0, dtype=torch.float64) for _ in range(3))
    for p in (late, alone, other):
        p.requires_grad_()
    settings = {"lr": 0.05, "warmup_steps": 10}
    together = cls([other, late], **settings)
    apart = cls([alone], **settings)
    for step in range(20):
        together.lookahead_()
        give_gradients([other], step)
        if step >= 5:
            give_gradients([late], step)
        together.step()
    take_steps(apart, [alone], range(5, 20))
    assert torch.equal(late, alone)
    assert together.state[late]["step"] == 15


@CLASS
def test_autograd_knows_that_z_begins_at_the_parameter(cls):
    def end(start, g):
        p = start.clone()
        optimizer = cls([p], lr=0.1, differentiable=True)
        for factor in (1.0, -0.5, 0.25):
            optimizer.lookahead_()
            p.grad = factor * g * p.clone()
            optimizer.step()
        return p

    start, g = (torch.rand(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(end, (start, g))


def test_memory_has_z_and_the_copy_of_x():
    from scratchopt import memory

    model = [torch.nn.Parameter(torch.empty(1000, device="meta"))]
    sgd = memory(model, ScheduleFreeSGD)
    assert (sgd.parameters, sgd.gradients, sgd.lookahead) == (4000, 4000, 4000)
    assert 4000 < sgd.state < 4050
    assert 8000 < memory(model, ScheduleFreeAdamW).state < 8050


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"warmup_steps": -1}, "Invalid warmup_steps value: -1"),
        ({"r": -0.5}, "Invalid r value: -0.5"),
        ({"weight_lr_power": float("nan")}, "Invalid weight_lr_power value: nan"),
    ],
    ids=str,
)
@CLASS
def test_a_value_out_of_its_range_is_refused(cls, setting, says):
    with pytest.raises(ValueError, match=says):
        cls(params(), **setting)


@pytest.mark.parametrize(("factor", "stable"), [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_late_in_a_training_z_is_stable_up_to_the_limit(beta, factor, stable):
    """As t → ∞ x rests; here it has rested at 0 for 10¹⁵ steps."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    lr = factor * ScheduleFreeSGD.stability_limit(momentum=beta)
    optimizer = ScheduleFreeSGD([x], lr=lr, momentum=beta)
    take_steps_on_half_a_square(optimizer, x, 1)
    optimizer.state[x]["weight_sum"] += 1e15 * lr**2
    optimizer.state[x]["z"] += 1
    take_steps_on_half_a_square(optimizer, x, 1000)
    z = optimizer.state[x]["z"].abs().item()
    assert (z < 1e-8) if stable else (z > 1e4)


@pytest.mark.parametrize("lr", [1.9, 5.0, 15.0])
def test_below_the_limit_a_training_converges_however_it_begins(lr):
    """Plain SGD diverges beyond lr·λ = 2, and here z does at first."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = ScheduleFreeSGD([x], lr=lr, momentum=0.9)
    take_steps_on_half_a_square(optimizer, x, 500)
    assert abs(x.item()) < 1e-20


def take_steps_on_half_a_square(optimizer: Any, x: Tensor, steps: int) -> None:
    for _ in range(steps):
        optimizer.lookahead_()
        x.grad = x.detach().clone()
        optimizer.step()


def test_adamws_preconditioner_is_what_its_step_divides_by():
    ps = params()
    optimizer = ScheduleFreeAdamW(ps, lr=0.05, weight_decay=0.1)
    take_steps(optimizer, ps, range(20))
    for p in ps:
        state, group = optimizer.state[p], optimizer.param_groups[0]
        z = state["z"].clone()
        optimizer.lookahead_()
        y = p.detach().clone()
        give_gradients(ps, 20)
        g: Any = p.grad
        optimizer.step()
        expected = z - 0.05 * (g / preconditioner(optimizer, p, group) + 0.1 * y)
        torch.testing.assert_close(state["z"], expected, rtol=0, atol=1e-14)


@CLASS
def test_closure_and_lookahead_are_one(cls):
    ps, qs = params(), params()
    ours, other = cls(ps, lr=0.05), cls(qs, lr=0.05)
    for _ in range(10):
        take_step(ours, lambda: torch.stack([f(p) for p in ps]).sum())
        other.lookahead_()
        for q in qs:
            (q.grad,) = torch.autograd.grad(f(q), [q])
        other.step()
        assert all(map(torch.equal, ps, qs))


def test_there_is_a_limit_of_stability_and_adams_is_another():
    assert ScheduleFreeAdamW.stability_limit(betas=(0.9, 0.999), lr=0.0, weight_decay=0.0) == (
        pytest.approx(20)
    )
    assert Adam.stability_limit(betas=(0.9, 0.999)) == pytest.approx(38)
