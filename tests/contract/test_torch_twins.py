"""Runs that change hands between torch's optimizers and ours."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, OneCycleLR

import scratchopt
from scratchopt import from_torch, to_torch

PAIRS = {
    "sgd": (scratchopt.SGD, torch.optim.SGD, {"lr": 0.1}, {}),
    "momentum": (scratchopt.Momentum, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}, {}),
    "nag_torch": (
        scratchopt.NAGTorch,
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9},
        {"nesterov": True},
    ),
    "adagrad": (scratchopt.Adagrad, torch.optim.Adagrad, {"lr": 0.1}, {}),
    "rmsprop": (scratchopt.RMSprop, torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.9}, {}),
    "adam": (scratchopt.Adam, torch.optim.Adam, {"lr": 0.01}, {}),
    "amsgrad": (scratchopt.Adam, torch.optim.Adam, {"lr": 0.01, "amsgrad": True}, {}),
    "adamw": (scratchopt.AdamW, torch.optim.AdamW, {"lr": 0.01}, {}),
    "adafactor": (scratchopt.Adafactor, torch.optim.Adafactor, {"lr": 0.01}, {}),
    "nadam": (scratchopt.NAdam, torch.optim.NAdam, {"lr": 0.01}, {"foreach": True}),
    "radam": (scratchopt.RAdam, torch.optim.RAdam, {"lr": 0.01}, {"foreach": True}),
}
BY_STATE_DICT = [name for name in PAIRS if name != "momentum"]  # its velocity is not torch's buffer


def params():
    torch.manual_seed(0)
    return [torch.randn(s, dtype=torch.float64).requires_grad_() for s in [(3, 5), (7,)]]


def steps(optimizer, values, count, seed=0, scheduler=None):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for p in values:
            p.grad = torch.randn(p.shape, dtype=p.dtype, generator=generator) + p.detach()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


@pytest.mark.parametrize("name", BY_STATE_DICT)
def test_a_state_dict_goes_to_torch_at_50_and_back_at_100(name):
    ours, theirs, settings, extra = PAIRS[name]
    whole = params()
    steps_of_150 = ours(whole, **settings)
    for seed in (1, 2, 3):
        steps(steps_of_150, whole, 50, seed)

    values = params()
    first = ours(values, **settings)
    steps(first, values, 50, 1)
    second = theirs(values, lr=9.0)  # all else comes with the state
    second.load_state_dict(first.state_dict())
    second.param_groups[0]["foreach"] = extra.get("foreach")  # that of the state is a choice
    steps(second, values, 50, 2)
    third = ours(values, **settings)
    third.load_state_dict(second.state_dict())
    steps(third, values, 50, 3)
    assert all(torch.equal(p, q) for p, q in zip(values, whole, strict=True))


@pytest.mark.parametrize("name", PAIRS)
def test_live_optimizers_convert_both_ways_and_go_on_alike(name):
    ours, theirs, settings, extra = PAIRS[name]
    values, twins = params(), params()
    a, b = ours(values, **settings), theirs(twins, **settings, **extra)
    steps(a, values, 20, 1)
    steps(b, twins, 20, 1)
    a, b = to_torch(a), from_torch(b)
    assert type(a) is theirs
    assert type(b) is ours
    steps(a, values, 20, 2)
    steps(b, twins, 20, 2)
    for p, q in zip(values, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_a_schedule_in_progress_comes_along(name):
    _, theirs, settings, extra = PAIRS[name]
    values = params()
    old = theirs(values, **settings, **extra)
    steps(old, values, 5, 1, ExponentialLR(old, 0.9))
    new = from_torch(old)
    assert new.param_groups[0]["initial_lr"] == settings["lr"]
    assert new.param_groups[0]["lr"] == old.param_groups[0]["lr"]
    scheduler = ExponentialLR(new, 0.9, last_epoch=4)
    steps(new, values, 1, 2, scheduler)
    assert new.param_groups[0]["lr"] == pytest.approx(settings["lr"] * 0.9**6)


SCHEDULERS = {
    "ExponentialLR": lambda optimizer: ExponentialLR(optimizer, 0.9),
    "CosineAnnealingLR": lambda optimizer: CosineAnnealingLR(optimizer, 40),
    "OneCycleLR": lambda optimizer: OneCycleLR(
        optimizer,
        0.1,
        45,
        cycle_momentum=optimizer.defaults.keys() & {"momentum", "betas"} != set(),
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.parametrize("name", [name for name in BY_STATE_DICT if name != "sgd"])
def test_a_running_scheduler_moves_over(name, schedule):
    """Twenty steps of torch's, twenty of ours, forty of torch's: the same."""
    _, theirs, settings, extra = PAIRS[name]
    values, whole = params(), params()
    settings = settings | extra
    a, b = theirs(values, **settings), theirs(whole, **settings)
    moving, staying = schedule(a), schedule(b)
    for seed in (1, 2):
        steps(a, values, 20, seed, moving)
        steps(b, whole, 20, seed, staying)
        a = moving.optimizer = from_torch(a) if seed == 1 else to_torch(a)  # type: ignore[arg-type]
        assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"]
    assert all(torch.equal(p, q) for p, q in zip(values, whole, strict=True))


@pytest.mark.parametrize("cls", [scratchopt.Momentum, scratchopt.NAG])
def test_torchs_buffer_is_no_velocity(cls):
    values = params()
    old = torch.optim.SGD(values, lr=0.1, momentum=0.9)
    steps(old, values, 1)
    with pytest.raises(ValueError, match=r"keeps no momentum_buffer: scratchopt\.from_torch"):
        cls(values).load_state_dict(old.state_dict())


def test_a_state_of_another_method_of_torchs_sgd_is_refused():
    values = params()
    old = torch.optim.SGD(values, lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"SGD has no momentum=0\.9: scratchopt\.from_torch"):
        scratchopt.SGD(values).load_state_dict(old.state_dict())
    with pytest.raises(ValueError, match="NAGTorch has no nesterov=False"):
        scratchopt.NAGTorch(values).load_state_dict(old.state_dict())


def test_momentum_takes_the_velocity_at_the_lr_of_now():
    values = params()
    old = torch.optim.SGD(values, lr=0.1, momentum=0.9)
    steps(old, values, 3)
    old.param_groups[0]["lr"] = 0.02
    new = from_torch(old)
    buffer = old.state[values[0]]["momentum_buffer"]
    assert torch.equal(new.state[values[0]]["velocity"], -0.02 * buffer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1), "dampening"),
        (lambda p: torch.optim.Rprop(p), "Rprop has no counterpart"),
        (
            lambda p: torch.optim.SGD([{"params": p[:1], "momentum": 0.9}, {"params": p[1:]}], 0.1),
            "groups of Momentum and SGD",
        ),
    ],
)
def test_what_has_no_counterpart_here_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        from_torch(make(params()))


def test_what_torch_cannot_do_is_refused():
    with pytest.raises(ValueError, match="Adam has no option compensated"):
        to_torch(scratchopt.Adam(params(), compensated=True))


@pytest.mark.parametrize("cls", [scratchopt.NAG, scratchopt.Newton])
def test_what_has_no_counterpart_in_torch_is_refused(cls):
    with pytest.raises(ValueError, match=r"has no counterpart in torch\.optim"):
        to_torch(cls(params()))
    resting = scratchopt.Momentum(params(), lr=0.0)
    with pytest.raises(ValueError, match="Invalid learning rate: 0"):
        to_torch(resting)


def test_what_nadam_keeps_goes_to_where_torch_looks_for_it():
    p = torch.ones(3, device="meta", requires_grad=True)
    ours = scratchopt.NAdam([p], capturable=True)
    ours.new_state(p, ours.param_groups[0])
    assert to_torch(ours).state[p]["mu_product"].device.type == "meta"
    theirs = torch.optim.NAdam([p])
    theirs.state[p] = {"step": torch.tensor(1.0), "mu_product": torch.tensor(0.5)}
    assert from_torch(theirs).state[p]["mu_product"] == 0.5


@pytest.mark.parametrize("option", ["fused", "capturable", "foreach"])
def test_the_count_of_steps_goes_to_where_torch_looks_for_it(option):
    """Its fused kernels count on the device; "meta" stands in for a GPU."""
    p = torch.ones(3, device="meta", requires_grad=True)
    options: dict[str, Any] = {option: True}
    ours = scratchopt.Adam([p], **options)
    ours.new_state(p, ours.param_groups[0])
    theirs = to_torch(ours)
    assert theirs.state[p]["step"].device.type == ("cpu" if option == "foreach" else "meta")
