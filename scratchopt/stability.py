"""The curvature up to which an optimizer is stable, and the one that it sees.

On a quadratic of curvature λ a method converges where lr·λ is below a number that μ decides. For an
adaptive method λ is that of P⁻¹H, with P its preconditioner held still.

References: Polyak, "Some methods of speeding up the convergence of iteration methods" (1964); Goh,
"Why momentum really works", Distill (2017); Cohen et al., "Adaptive gradient methods at the edge of
stability" (2022), arXiv 2207.14484.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from math import inf
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scratchopt.adagrad import Adagrad
from scratchopt.adam import Adam
from scratchopt.hyperparameters import as_number
from scratchopt.momentum import Momentum
from scratchopt.nag import NAG
from scratchopt.nag_torch import NAGTorch
from scratchopt.rmsprop import RMSprop
from scratchopt.sgd import SGD

Group: TypeAlias = Mapping[str, Any]

# The largest stable lr·λ, from μ: where the first eigenvalue of a step passes −1
LIMITS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda mu: 2.0,
    "Momentum": lambda mu: 2 * (1 + mu),
    "NAG": lambda mu: (2 + 2 * mu) / (1 + 2 * mu),
    "NAGTorch": lambda mu: (2 + 2 * mu) / (1 + 2 * mu),
}


def adam_limit(beta1: float, decay: float = 0.0) -> float:
    """Adam's largest stable lr·λ, where λ is the curvature divided by √v + eps, v constant.

    Cohen et al.: Adam is then the heavy ball with μ = β₁ and lr·(1 − β₁). A decoupled weight decay
    makes θ (1 − decay)·θ before the step, with decay = lr·weight_decay, and leaves 1 − decay/2 of
    it.
    """
    return (2 + 2 * beta1) / (1 - beta1) * (1 - decay / 2)


def _torchs_sgd(group: Group) -> float:
    mu = group["momentum"]
    if group["nesterov"]:
        return LIMITS["NAGTorch"](mu)
    return LIMITS["Momentum"](mu) / ((1 - group["dampening"]) if mu else 1)


def _adams(group: Group) -> float:
    decay = group["lr"] * group["weight_decay"] if decouples(group) else 0.0
    return adam_limit(group["betas"][0], decay)


# By class, a subclass before its base; all from a group's numbers
_OF: dict[type[torch.optim.Optimizer], Callable[[Group], float]] = {
    SGD: lambda group: LIMITS["SGD"](0),
    NAG: lambda group: LIMITS["NAG"](group["momentum"]),
    NAGTorch: lambda group: LIMITS["NAGTorch"](group["momentum"]),
    Momentum: lambda group: LIMITS["Momentum"](group["momentum"]),
    torch.optim.SGD: _torchs_sgd,
    **dict.fromkeys((Adam, torch.optim.Adam, torch.optim.AdamW), _adams),
    **dict.fromkeys(
        (RMSprop, torch.optim.RMSprop), lambda group: LIMITS["Momentum"](group["momentum"])
    ),
    **dict.fromkeys((Adagrad, torch.optim.Adagrad), lambda group: LIMITS["SGD"](0)),
}


_SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "grad_avg", "sum")
_ADAPTIVE = tuple(cls for cls in _OF if "eps" in signature(cls).parameters)


def known(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is one of ours or torch's for which there is a limit, or derived from one."""
    return isinstance(optimizer, tuple(_OF))


def numbers(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The settings of its groups as they are now, tensors read."""
    default = isinstance(optimizer, torch.optim.AdamW)  # an older torch has no key for it
    return [
        {"decoupled_weight_decay": default}
        | {key: as_number(value) for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def decouples(group: Group) -> bool:
    """Whether a group's weight decay is no penalty on the loss."""
    return group["decoupled_weight_decay"]


def limit(optimizer: torch.optim.Optimizer, groups: Sequence[Group]) -> float | None:
    """The largest stable curvature; of an adaptive method, of the preconditioned one.

    Args:
        optimizer: of any kind.
        groups: its `numbers` at a step.

    Returns:
        None where there is none: of an optimizer that is not `known`, at lr 0, where it ascends,
        or where groups differ in it.
    """
    if not known(optimizer):
        return None
    of = next(of for cls, of in _OF.items() if isinstance(optimizer, cls))
    limits = {of(group) / group["lr"] if group["lr"] else None for group in groups}
    ascends = any(group.get("maximize") for group in groups)
    return None if ascends or len(limits) > 1 else limits.pop()


def preconditioner(optimizer: torch.optim.Optimizer, p: Tensor, group: Group) -> Tensor:
    """The diagonal of P as the last step had it, in p's shape, at least float32.

    A step is lr·P⁻¹ times an average of the gradients:
    Adam: (1 − β₁ᵗ)·(√(v/(1 − β₂ᵗ)) + eps), so that the correction of m is P's (Cohen et al.);
    RMSprop: √v + eps, or the standard deviation in place of √v; Adagrad: √s + eps, times
    1 + (t − 1)·lr_decay; of others 1. Where an adaptive method has no state, P is infinite: p
    has not moved.

    Args:
        optimizer: one that is `known`.
        p: a parameter of it.
        group: p's, of `numbers`.
    """
    state = optimizer.state.get(p, {})
    wide = {key: _wide(value) for key, value in state.items() if key in _SQUARES}
    if not wide:
        return torch.full_like(_wide(p.detach()), inf if isinstance(optimizer, _ADAPTIVE) else 1.0)
    if "exp_avg_sq" in wide:
        t, (beta1, beta2) = float(state["step"]), group["betas"]
        v = wide["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        return (1 - beta1**t) * ((v / (1 - beta2**t)).sqrt() + group["eps"])
    if "square_avg" in wide:
        v = wide["square_avg"]
        if group["centered"]:
            v = v - wide["grad_avg"] ** 2
        return v.sqrt() + group["eps"]
    slowed = 1 + (float(state["step"]) - 1) * group["lr_decay"]
    return slowed * (wide["sum"].sqrt() + group["eps"])


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: a bfloat16 has three digits."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
