"""Rules with one mistake each, shown to the gate: it must catch every one of them.

Each row says which checks fail, so that a check that goes blind is seen too.
"""

from collections.abc import Callable
from typing import Any

import pytest

import scratchopt
from scratchopt import NAG, Adam, Momentum, NAGTorch

from .checks import (
    check_bias_correction,
    check_constant_lr_schedule,
    check_constant_momentum_schedule,
    check_limit,
    check_rate,
)


class MomentumMuAfter(Momentum):
    """v ← μ(v − lr·g), for μv − lr·g."""

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v -= lr * g
        v *= momentum
        p += v


class NAGMuAfter(NAG):
    """v ← μ(v − lr·g), for μv − lr·g."""

    rule = staticmethod(MomentumMuAfter.rule)


class NAGTorchMuAfter(NAGTorch):
    """v ← μ(v + g), for μv + g."""

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v += g
        v *= momentum
        p -= lr * (g + momentum * v)


class MomentumMuLate(Momentum):
    """μ multiplies at the end of a step and no longer at the start: with this step's μ."""

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v -= lr * g
        p += v
        v *= momentum


class MomentumLrOutside(Momentum):
    """v ← μv − g, θ ← θ + lr·v: torch's momentum."""

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v *= momentum
        v -= g
        p += lr * v


class NAGLrOutside(NAG):
    """The same; and the lookahead is then as wrong as the velocity."""

    rule = staticmethod(MomentumLrOutside.rule)


class NAGTorchLrInside(NAGTorch):
    """v ← μv + lr·g, θ ← θ − (lr·g + μv)."""

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v *= momentum
        v += lr * g
        p -= lr * g + momentum * v


class AdamLate(Adam):
    """Bias corrections of the next step."""

    @staticmethod
    def rule(p, g, m, v, *, t, lr, betas, eps):
        Adam.rule(p, g, m, v, t=t + 1, lr=lr, betas=betas, eps=eps)


class AdamEarly(Adam):
    """Bias corrections of the step before; of the first, which would divide by 0, its own."""

    @staticmethod
    def rule(p, g, m, v, *, t, lr, betas, eps):
        Adam.rule(p, g, m, v, t=max(t - 1, 1), lr=lr, betas=betas, eps=eps)


TUNED_OF = {"Momentum": "heavy ball", "NAG": "NAG, standard", "NAGTorch": "NAG, optimal"}
CHECKS: dict[str, Callable[[Any, str], None]] = {
    "rate": lambda cls, method: check_rate(cls, TUNED_OF[method], 10.0),
    "limit": lambda cls, method: check_limit(cls, method, 0.5),
    "lr schedule": check_constant_momentum_schedule,
    "μ schedule": check_constant_lr_schedule,
}
ALL = set(CHECKS)
MUTANTS: dict[type, tuple[str, set[str]]] = {
    MomentumMuAfter: ("Momentum", ALL),
    NAGMuAfter: ("NAG", ALL),
    NAGTorchMuAfter: ("NAGTorch", ALL),
    MomentumMuLate: ("Momentum", {"μ schedule"}),
    MomentumLrOutside: ("Momentum", {"lr schedule"}),
    NAGLrOutside: ("NAG", ALL),
    NAGTorchLrInside: ("NAGTorch", {"lr schedule"}),
}


def failing(cls: type, method: str) -> set[str]:
    """The names of the checks that the class does not pass."""
    names = set()
    for name, check in CHECKS.items():
        try:
            check(cls, method)
        except AssertionError:
            names.add(name)
    return names


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda cls: cls.__name__)
def test_a_mistake_in_a_momentum_is_caught(mutant):
    method, expected = MUTANTS[mutant]
    assert failing(mutant, method) == expected


@pytest.mark.parametrize("method", TUNED_OF)
def test_the_rules_themselves_pass_what_the_mistakes_do_not(method):
    assert failing(getattr(scratchopt, method), method) == set()


@pytest.mark.parametrize("mutant", [AdamLate, AdamEarly])
def test_a_bias_correction_off_by_one_is_caught(mutant):
    check_bias_correction(Adam)
    with pytest.raises(AssertionError):
        check_bias_correction(mutant)
