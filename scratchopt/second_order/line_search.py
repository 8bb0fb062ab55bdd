"""Steps that are tried before they are taken."""

from collections.abc import Callable, Sequence
from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor

ARMIJO, SHORTEST = 1e-4, 2.0**-20  # the fraction of the slope's promise; the last part tried


class Model(NamedTuple):
    """The quadratic model along a step s: f(θ) − f(θ − part·s) ≈ part·slope − part²·bend/2."""

    slope: float  # gᵀs
    bend: float  # sᵀCs

    def decrease(self, part: float) -> float:
        """The decrease of f that the model predicts."""
        return part * self.slope - part**2 * self.bend / 2


class TriedStep(NamedTuple):
    """The outcome of a tried step."""

    part: float  # of the step, the last one tried
    after: float  # f there
    trials: int


def try_step(
    params: Sequence[Tensor],
    step: Sequence[Tensor],
    f: Callable[[], float],
    start: float,
    model: Model,
    line_search: bool,
) -> TriedStep:
    """Moves θ to θ − part·s, if f falls there; else, and where f fails, leaves it.

    Args:
        params: θ.
        step: s, in θ's shapes.
        f: the objective, at what the parameters hold.
        start: f(θ).
        model: of f along s.
        line_search: whether to halve the step till f has fallen enough (Armijo, 1966).
    """
    before = [p.clone() for p in params]
    part, after, count = 2.0, nan, 0
    try:
        while part > (SHORTEST if line_search else 1.0):
            part, after = part / 2, nan
            for p, old, whole in zip(params, before, step, strict=True):
                p.copy_(old - part * whole)
            count, after = count + 1, f()
            if after <= start - ARMIJO * part * model.slope:
                break
    finally:
        if not after <= start:
            for p, old in zip(params, before, strict=True):
                p.copy_(old)
    return TriedStep(part, after, count)


def damping_factor(ratio: float) -> float:
    """A factor for the damping, from actual over predicted decrease (Levenberg and Marquardt).

    Reference: Martens, "Deep learning via Hessian-free optimization", ICML 2010, section 4.1.
    """
    if ratio > 3 / 4:
        return 2 / 3
    return 1 if ratio >= 1 / 4 else 3 / 2


class Trials:
    """Runs a closure for its loss alone: torch's random numbers are those that it first drew.

    It is made before the closure's first run. The parameters' gradients, and the random numbers to
    come, stay as they were.
    """

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def __call__(self, closure: Callable[[], Any], parameters: Sequence[Tensor]) -> Any:
        """Runs the closure, and returns what it returns."""
        kept = [p.grad for p in parameters]
        for p in parameters:
            p.grad = None
        try:
            with torch.random.fork_rng(range(len(self._cuda))), torch.enable_grad():
                torch.set_rng_state(self._cpu)
                if self._cuda:
                    torch.cuda.set_rng_state_all(self._cuda)
                return closure()
        finally:
            for p, grad in zip(parameters, kept, strict=True):
                p.grad = grad
