"""Schedules: each is its formula; the momentum rises as in the paper; what cannot be is refused."""

from collections.abc import Callable
from functools import partial
from math import cos, log2, pi
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from scratchopt.config.fields import UserError
from scratchopt.runs.instantiation import make_schedule
from scratchopt.schedules import constant, cosine, linear, one_cycle, step

STEPS, PEAK, MOST = 40, 0.3, 0.9


def after_warmup(warmup: int, falls: Callable[[int, int], float]) -> Callable[[int], float]:
    """The share of the peak at step t: (t + 1)/(w + 1), then what `falls` gives, counted anew."""

    def share(t: int) -> float:
        return (t + 1) / (warmup + 1) if t < warmup else falls(t - warmup, STEPS - warmup)

    return share


def half_cosine(a: float) -> Callable[[int, int], float]:
    return lambda t, length: a + (1 - a) * (1 + cos(pi * t / length)) / 2


def cycle(peak: int, first: float, last: float) -> Callable[[int], float]:
    """Smith's: half a cosine up to the peak, another one down to the end."""

    def between(start: float, end: float, share: float) -> float:
        return end + (start - end) * (1 + cos(pi * share)) / 2

    def at(t: int) -> float:
        if t <= peak:
            return between(first, 1.0, t / peak) if peak > 0 else 1.0
        return between(1.0, last, (t - peak) / (STEPS - 1 - peak))

    return at


SCHEDULES: dict[str, tuple[Callable[..., LRScheduler], Callable[[int], float]]] = {
    "constant": (partial(constant), lambda t: 1.0),
    "constant, warmup": (partial(constant, warmup=7), after_warmup(7, lambda t, n: 1.0)),
    "cosine": (partial(cosine, total_steps=STEPS), after_warmup(0, half_cosine(0.0))),
    "cosine, warmup, end": (
        partial(cosine, total_steps=STEPS, warmup=7, end_factor=0.1),
        after_warmup(7, half_cosine(0.1)),
    ),
    "cosine, all but one step of warmup": (
        partial(cosine, total_steps=STEPS, warmup=STEPS - 1),
        after_warmup(STEPS - 1, half_cosine(0.0)),
    ),
    "linear, warmup": (
        partial(linear, total_steps=STEPS, warmup=1),
        after_warmup(1, lambda t, n: 1 - t / n),
    ),
    "linear, end": (
        partial(linear, total_steps=STEPS, end_factor=0.25),
        after_warmup(0, lambda t, n: 1 - 0.75 * t / n),
    ),
    "step": (partial(step, total_steps=STEPS), after_warmup(0, lambda t, n: 0.1 ** (t // 14))),
    "step, warmup": (
        partial(step, total_steps=STEPS, warmup=10, gamma=0.5),
        after_warmup(10, lambda t, n: 0.5 ** (t // 10)),
    ),
    "step, size": (partial(step, step_size=9), after_warmup(0, lambda t, n: 0.1 ** (t // 9))),
    "one cycle": (partial(one_cycle, total_steps=STEPS), cycle(11, 1 / 25, 1 / 25 / 1e4)),
    "one cycle, warmup": (
        partial(one_cycle, total_steps=STEPS, warmup=1, div_factor=2.0, final_div_factor=5.0),
        cycle(1, 1 / 2, 1 / 10),
    ),
    "one cycle, no warmup": (  # torch's falls from the step before the first
        partial(one_cycle, total_steps=STEPS, warmup=0),
        cycle(-1, 1.0, 1 / 25 / 1e4),
    ),
}


def sgd(momentum: float = MOST) -> Optimizer:
    """Two groups, of which the second has half the lr."""
    ones = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [ones[0]]}, {"params": [ones[1]], "lr": PEAK / 2}]
    return SGD(groups, lr=PEAK, momentum=momentum)


def follow(optimizer: Optimizer, make: Callable[..., LRScheduler], count: int = STEPS) -> Any:
    """The groups' values at each step."""
    scheduler, seen = make(optimizer), []
    for _ in range(count):
        seen.append([dict(group) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(("make", "share"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_is_its_formula(make, share):
    if make.keywords.get("end_factor") and make.func is cosine:
        optimizer: Optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=PEAK)
    else:
        optimizer = sgd()
    peaks = [group["lr"] for group in optimizer.param_groups]
    for t, groups in enumerate(follow(optimizer, make)):
        for group, peak in zip(groups, peaks, strict=True):
            assert group["lr"] == pytest.approx(peak * share(t), rel=1e-9, abs=1e-15), t


def rising(t: int, every: int = 250, most: float = MOST) -> float:
    """Sutskever et al. (2013): min(1 − 2^(−1 − log₂(⌊t/250⌋ + 1)), μ_max)."""
    return min(1 - 2 ** (-1 - log2(t // every + 1)), most)


@pytest.mark.parametrize("make", [constant, partial(cosine, total_steps=1100, warmup=50)])
def test_the_momentum_rises_as_in_the_paper_while_the_lr_has_its_own_way(make):
    alone = follow(sgd(), make, 1100)
    together = follow(sgd(), partial(make, momentum_rise=250), 1100)
    for t, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert [group["lr"] for group in one] == [group["lr"] for group in other]
        assert [group["momentum"] for group in one] == [MOST, MOST]
        assert [group["momentum"] for group in other] == pytest.approx([rising(t)] * 2, rel=1e-15)
    assert together[0][0]["momentum"] == 0.5
    assert together[-1][0]["momentum"] == MOST


def test_of_adam_and_its_kin_it_is_the_first_beta():
    optimizer = Adam([torch.nn.Parameter(torch.ones(2))], betas=(0.9, 0.99))
    make = partial(constant, momentum_rise=3)
    for t, [group] in enumerate(follow(optimizer, make)):
        assert group["betas"] == (pytest.approx(rising(t, 3), rel=1e-15), 0.99)


def test_one_cycle_takes_the_momentum_down_and_up_again():
    make = partial(one_cycle, total_steps=STEPS, warmup=10, base_momentum=0.5)
    momenta = [groups[0]["momentum"] for groups in follow(sgd(), make)]
    assert (momenta[0], momenta[10], momenta[-1]) == pytest.approx((MOST, 0.5, MOST), rel=1e-9)


@pytest.mark.parametrize("make", [partial(cosine, momentum_rise=3, warmup=4), one_cycle, step])
def test_a_schedule_goes_on_from_its_state(make):
    """With an optimizer whose groups went on from theirs, as a checkpoint has both."""
    make = partial(make, total_steps=STEPS)
    first, whole = sgd(), follow(sgd(), make)
    scheduler = make(first)
    for _ in range(STEPS // 3):
        first.step()
        scheduler.step()
    second = sgd()
    later = make(second)
    second.load_state_dict(first.state_dict())
    later.load_state_dict(scheduler.state_dict())
    for groups in whole[STEPS // 3 :]:
        for group, expected in zip(second.param_groups, groups, strict=True):
            assert {k: group[k] for k in ("lr", "momentum")} == {
                k: expected[k] for k in ("lr", "momentum")
            }
        second.step()
        later.step()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (partial(cosine, total_steps=None), "the run has no end that is known in advance: give "),
        (partial(step, total_steps=None), "give max_steps"),
        (partial(linear, total_steps=7, warmup=7), r"Invalid total_steps: 7, .*total_steps >= 8"),
        (partial(one_cycle, total_steps=7, warmup=6), r"total_steps >= 8; give a shorter warmup"),
        (partial(cosine, total_steps=7, end_factor=0.1), "Invalid end_factor: 0.1.*0.15, 0.3"),
        (
            partial(one_cycle, total_steps=7, base_momentum=0.95),
            r"Invalid base_momentum: 0.95 \(base_momentum <= 0.9",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(make, words):
    with pytest.raises(ValueError, match=words):
        make(sgd())


@pytest.mark.parametrize("schedule", [{"momentum_rise": 3}, {"base_momentum": 0.5}], ids=str)
def test_a_momentum_that_is_not_there_is_refused(schedule):
    make = partial(one_cycle, total_steps=9) if "base_momentum" in schedule else constant
    optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match="neither momentum nor betas"):
        make(optimizer, **schedule)
    with pytest.raises(ValueError, match=r"Invalid (momentum|base_momentum): 0\.[05]"):
        make(sgd(momentum=0.0), **schedule)


def returns_a_number(optimizer: Optimizer, total_steps: int) -> Any:
    return total_steps


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"gamma": 0.9, "gama": 1}, "^schedule.gama: .*takes no such argument .it takes gamma, "),
        ({"gamma": 0.9, "_partial_": False}, "is given the optimizer later; add _partial_: true"),
        ({}, r"^schedule\._target_=.*ExponentialLR: .*missing.*'gamma'"),
        ({"_target_": f"{__name__}.returns_a_number"}, "returns no scheduler of torch's, but int"),
        ({"_target_": "scratchopt.schedules.cosine"}, "^schedule=cosine: Invalid total_steps: 0"),
    ],
    ids=str,
)
def test_a_node_that_makes_no_schedule_is_told_of_in_a_line(node, words):
    target = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "_partial_": True}
    own = "_target_" in node

    def make() -> None:
        schedule: Any = make_schedule(target | node)
        schedule(sgd(), **({"total_steps": 0} if own else {}))

    with pytest.raises(UserError, match=words) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_a_node_of_torch_s_makes_a_schedule():
    node = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "_partial_": True, "gamma": 0.5}
    make: Any = make_schedule(node)
    lrs = [groups[0]["lr"] for groups in follow(sgd(), make, 3)]
    assert lrs == pytest.approx([PEAK, PEAK / 2, PEAK / 4])
    assert make_schedule(None) is None


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (constant, {"warmup": -1}),
        (one_cycle, {"total_steps": 8, "warmup": -1}),
        (constant, {"momentum_rise": 0}),
        (cosine, {"total_steps": 8, "end_factor": -1}),
        (step, {"step_size": -2}),
    ],
)
def test_a_value_out_of_its_range_is_refused_and_makes_no_schedule(make, given):
    optimizer = SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    name, value = list(given.items())[-1]
    with pytest.raises(ValueError, match=f"Invalid {name} value: {value}"):
        make(optimizer, **given)
    assert optimizer.param_groups[0]["lr"] == 0.1
