"""Schedules of the learning rate and of the momentum μ, made of torch's schedulers.

Each function takes an optimizer and returns one scheduler, which is to be stepped after every step
of the optimizer. The group's lr is the peak, its momentum (of Adam and its kin β₁) the greatest.

```python
>>> import torch
>>> from scratchopt import NAG
>>> from scratchopt.schedules import cosine
>>> optimizer = NAG([torch.nn.Parameter(torch.ones(1))], lr=1.0)
>>> schedule, lrs = cosine(optimizer, total_steps=6, warmup=2), []
>>> for _ in range(6):
...     lrs.append(round(optimizer.param_groups[0]["lr"], 3))
...     _ = optimizer.step(lambda: torch.zeros(()))
...     schedule.step()
>>> lrs
[0.333, 0.667, 1.0, 0.854, 0.5, 0.146]

```

`warmup=w` lets the lr rise in a line: step t = 0, 1, …, w−1 has (t + 1)/(w + 1) of the peak, step w
all of it. `momentum_rise=n` lets μ rise as in Sutskever et al., "On the importance of
initialization and momentum in deep learning" (2013), where n is 250:

    μ_t = min(1 − ½ / (⌊t/n⌋ + 1), μ)

torch has schedulers of the momentum, CyclicLR and OneCycleLR, but none that follows a formula.
"""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from scratchopt.ranges import Range, check_range

_RANGES = (
    Range("warmup", 0),
    Range("end_factor", 0, 1, closed=True),
    Range("momentum_rise", 1, optional=True),
    Range("step_size", 1, optional=True),
)


def constant(
    optimizer: Optimizer, *, warmup: int = 0, momentum_rise: int | None = None
) -> LRScheduler:
    """Makes a schedule that keeps the lr at its peak after the warmup.

    Args:
        optimizer: whose groups it changes.
        warmup: steps in which the lr rises, >= 0.
        momentum_rise: steps between two rises of μ, >= 1; None: μ stays.

    Raises:
        ValueError: an optimizer without a momentum that could rise.
    """
    _check(warmup=warmup, momentum_rise=momentum_rise)
    return _chain(optimizer, [_warm_up(optimizer, warmup)], momentum_rise)


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: int | None,
    warmup: int = 0,
    end_factor: float = 0.0,
    momentum_rise: int | None = None,
) -> LRScheduler:
    """Makes a schedule in which the lr falls as half a cosine (Loshchilov and Hutter, 2017).

    Of the T steps after the warmup, step t has the share a + (1 − a)(1 + cos(πt/T))/2 of the peak,
    where a is the end factor.

    Args:
        optimizer: whose groups it changes.
        total_steps: of the run, > warmup.
        warmup: steps in which the lr rises, >= 0.
        end_factor: the share of the peak that the lr falls to, in [0, 1].
        momentum_rise: steps between two rises of μ, >= 1; None: μ stays.

    Raises:
        ValueError: a run of no known length or shorter than its warmup; an end factor where the
            groups have different lrs; an optimizer without a momentum that could rise.
    """
    _check(warmup=warmup, end_factor=end_factor, momentum_rise=momentum_rise)
    length = _check_length(total_steps, warmup + 1) - warmup
    peaks = {float(group["lr"]) for group in optimizer.param_groups}
    if end_factor and len(peaks) > 1:
        raise ValueError(
            f"Invalid end_factor: {end_factor} (0 where the groups have different lrs, as "
            f"{', '.join(map(str, sorted(peaks)))}; CosineAnnealingLR ends at one lr for all)"
        )
    fall = CosineAnnealingLR(optimizer, length, eta_min=end_factor * peaks.pop())
    return _chain(optimizer, _after_warmup(optimizer, fall, warmup), momentum_rise)


def linear(
    optimizer: Optimizer,
    *,
    total_steps: int | None,
    warmup: int = 0,
    end_factor: float = 0.0,
    momentum_rise: int | None = None,
) -> LRScheduler:
    """Makes a schedule in which the lr falls in a line.

    Of the T steps after the warmup, step t has the share 1 − (1 − a) t/T of the peak, where a is
    the end factor.

    Args:
        optimizer: whose groups it changes.
        total_steps: of the run, > warmup.
        warmup: steps in which the lr rises, >= 0.
        end_factor: the share of the peak that the lr falls to, in [0, 1].
        momentum_rise: steps between two rises of μ, >= 1; None: μ stays.

    Raises:
        ValueError: a run of no known length or shorter than its warmup; an optimizer without a
            momentum that could rise.
    """
    _check(warmup=warmup, end_factor=end_factor, momentum_rise=momentum_rise)
    length = _check_length(total_steps, warmup + 1) - warmup
    fall = LinearLR(optimizer, start_factor=1.0, end_factor=end_factor, total_iters=length)
    return _chain(optimizer, _after_warmup(optimizer, fall, warmup), momentum_rise)


def step(
    optimizer: Optimizer,
    *,
    total_steps: int | None = None,
    warmup: int = 0,
    step_size: int | None = None,
    gamma: float = 0.1,
    momentum_rise: int | None = None,
) -> LRScheduler:
    """Makes a schedule in which the lr is multiplied by γ every so many steps.

    Args:
        optimizer: whose groups it changes.
        total_steps: of the run, > warmup; needed without a step size.
        warmup: steps in which the lr rises, >= 0; they are followed by the first step_size.
        step_size: steps between two falls, >= 1; None: a third of those after the warmup.
        gamma: γ > 0.
        momentum_rise: steps between two rises of μ, >= 1; None: μ stays.

    Raises:
        ValueError: without a step size, a run of no known length or shorter than its warmup; an
            optimizer without a momentum that could rise.
    """
    _check(warmup=warmup, step_size=step_size, momentum_rise=momentum_rise)
    every = step_size or -(-(_check_length(total_steps, warmup + 1) - warmup) // 3)
    fall = StepLR(optimizer, every, gamma)
    return _chain(optimizer, _after_warmup(optimizer, fall, warmup), momentum_rise)


def one_cycle(
    optimizer: Optimizer,
    *,
    total_steps: int | None,
    warmup: int | None = None,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    base_momentum: float | None = None,
) -> LRScheduler:
    """Makes Smith's one cycle, as torch has it: the lr rises and falls, μ falls and rises.

    Args:
        optimizer: whose groups it changes.
        total_steps: of the run, > warmup + 1, and > 1.
        warmup: steps in which the lr rises to its peak, as half a cosine, >= 0; None: 30 % of them.
        div_factor: the first lr is the peak divided by it; > 0.
        final_div_factor: the last lr is the first divided by it; > 0.
        base_momentum: the least μ, in [0, 1), which goes with the peak; None: μ stays.

    Raises:
        ValueError: a run of no known length or shorter than its warmup; an optimizer without
            momentum, or with less than the least.
    """
    _check(warmup=warmup or 0)
    length = _check_length(total_steps, (warmup or 0) + 2)
    share = 0.3 if warmup is None else (warmup + 1) / length if warmup else 0.0
    groups = optimizer.param_groups
    cycle: dict[str, Any] = {"cycle_momentum": False}
    if base_momentum is not None:
        most = [_momentum_of(group) for group in groups]
        if min(most) < base_momentum:
            raise ValueError(
                f"Invalid base_momentum: {base_momentum} (base_momentum <= {min(most)}, the "
                "optimizer's momentum, from which the cycle begins)"
            )
        cycle = {"base_momentum": [base_momentum] * len(most), "max_momentum": most}
    return OneCycleLR(
        optimizer,
        [float(group["lr"]) for group in groups],
        length,
        pct_start=share,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        **cycle,
    )


class RisingMomentum(LRScheduler):
    """A scheduler that lets the momentum rise, and leaves the lr to others: Sutskever's, 2013.

    Args:
        optimizer: whose groups have a momentum, or betas.
        every: steps between two rises, >= 1; the paper's are 250.

    Raises:
        ValueError: an optimizer without momentum, or with 0.
    """

    def __init__(self, optimizer: Optimizer, every: int = 250) -> None:
        self.every = every
        self.most = [_momentum_of(group) for group in optimizer.param_groups]
        if not any(self.most):
            raise ValueError("Invalid momentum: 0.0 (momentum > 0, which it is to rise to)")
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Sets μ_t, as torch's OneCycleLR does here, and gives back the lrs as they are."""
        groups = self.optimizer.param_groups
        for group, most in zip(groups, self.most, strict=False):  # of groups that join, none knows
            value = min(1 - 0.5 / (self.last_epoch // self.every + 1), most)
            if "momentum" in group:
                group["momentum"] = value
            else:
                group["betas"] = (value, *group["betas"][1:])
        return [group["lr"] for group in groups]


def _momentum_of(group: dict[str, Any]) -> float:
    """The momentum of a group, or its β₁.

    Raises:
        ValueError: a group that has neither.
    """
    if "momentum" not in group and "betas" not in group:
        raise ValueError(
            "the optimizer has neither momentum nor betas that could be scheduled: leave "
            "momentum_rise and base_momentum out"
        )
    return float(group["momentum"] if "momentum" in group else group["betas"][0])


def _check(**values: Any) -> None:
    for name, value in values.items():
        check_range(name, value, _RANGES)


def _check_length(total_steps: int | None, least: int) -> int:
    """Returns the steps of a run, which the warmup and what follows take so many of at least.

    Raises:
        ValueError: fewer, or nobody knows how many.
    """
    if total_steps is None:
        raise ValueError("the run has no end that is known in advance: give max_steps")
    if total_steps < least:
        raise ValueError(
            f"Invalid total_steps: {total_steps}, the run's (total_steps >= {least}; give a "
            "shorter warmup, or a longer run)"
        )
    return total_steps


def _warm_up(optimizer: Optimizer, warmup: int) -> LRScheduler:
    return LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)


def _after_warmup(optimizer: Optimizer, fall: LRScheduler, warmup: int) -> list[LRScheduler]:
    if not warmup:
        return [fall]
    return [SequentialLR(optimizer, [_warm_up(optimizer, warmup), fall], [warmup])]


def _chain(
    optimizer: Optimizer, schedulers: Sequence[LRScheduler], momentum_rise: int | None
) -> LRScheduler:
    if momentum_rise is None:
        [only] = schedulers
        return only
    return ChainedScheduler([*schedulers, RisingMomentum(optimizer, momentum_rise)], optimizer)
