"""The curvature up to which an optimizer is stable, and the one that it sees.

On a quadratic of curvature λ a method converges where lr·λ is below a number that μ decides. For an
adaptive method λ is that of P⁻¹H, with P its preconditioner held still. Both stand in the methods'
files, and are torch's optimizers' too, where these are twins of ours.

References: Polyak, "Some methods of speeding up the convergence of iteration methods" (1964); Goh,
"Why momentum really works", Distill (2017); Cohen et al., "Adaptive gradient methods at the edge of
stability" (2022), arXiv 2207.14484.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scratchopt.adam import Adam
from scratchopt.engine.update import as_number, number_names
from scratchopt.method_files import method_classes
from scratchopt.optimizer import Optimizer
from scratchopt.torch_twins import find_twins

Group: TypeAlias = Mapping[str, Any]


def _limit_of(method: type[Optimizer]) -> Callable[[Any], Any]:
    limit = method.stability_limit
    return lambda mu: limit(**dict.fromkeys(number_names(limit), mu))


# The largest stable lr·λ, from μ, of the methods that are not adaptive: where the first eigenvalue
# of a step passes −1
LIMITS: dict[str, Callable[[Any], Any]] = {
    method.__name__: _limit_of(method)
    for method in sorted(method_classes().values(), key=lambda m: (len(m.buffers), m.__name__))
    if method.stability_limit and set(number_names(method.stability_limit)) <= {"momentum"}
    if not (method.preconditioner or method.averages)  # an average's steps are never twice alike
}


def adam_limit(beta1: float) -> float:
    """Adam's largest stable lr·λ, where λ is the curvature divided by √v + eps, v constant."""
    return Adam.stability_limit(betas=(beta1, 0.0))


def is_supported(optimizer: torch.optim.Optimizer) -> bool:
    """True if the optimizer has a limit here: one of ours or of torch's, or derived from one."""
    return bool(_methods(optimizer))


def _methods(optimizer: torch.optim.Optimizer) -> list[type[Optimizer]]:
    """The method, or those that groups of torch's class may be, which differ in numbers alone."""
    for cls in type(optimizer).__mro__:
        twins = [cls] if issubclass(cls, Optimizer) else find_twins(cls)
        if found := [method for method in twins if method.stability_limit]:
            return found
    return []


def read_settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Reads the settings of an optimizer's groups as they are now, tensors included.

    Among them is t, the number of the step to come, of a group's first parameter.
    """
    default = isinstance(optimizer, torch.optim.AdamW)  # an older torch has no key for it
    return [
        {"decoupled_weight_decay": default}
        | {key: as_number(value) for key, value in group.items() if key != "params"}
        | {"t": _next_step(optimizer, group)}
        for group in optimizer.param_groups
    ]


def _next_step(optimizer: torch.optim.Optimizer, group: Group) -> float:
    states = (optimizer.state[p] for p in group["params"] if p in optimizer.state)
    return 1 + next((float(state["step"]) for state in states if "step" in state), 0.0)


def decouples(group: Group) -> bool:
    """True if a group's weight decay is no penalty on the loss."""
    return group["decoupled_weight_decay"]


def limit(optimizer: torch.optim.Optimizer, groups: Sequence[Group]) -> float | None:
    """The largest stable curvature; of an adaptive method, of the preconditioned one.

    Args:
        optimizer: of any kind.
        groups: its `read_settings` at a step.

    Returns:
        None where there is none: of an optimizer that is not supported, at lr 0, where it ascends,
        or where groups differ in it.
    """
    methods = _methods(optimizer)
    if not methods:
        return None
    limits = {
        _limit(methods, dict(group)) / group["lr"] if group["lr"] else None for group in groups
    }
    ascends = any(group.get("maximize") for group in groups)
    return None if ascends or len(limits) > 1 else limits.pop()


def _limit(methods: list[type[Optimizer]], group: dict[str, Any]) -> float:
    """The largest stable lr·λ; torch's dampening takes a part of lr."""
    dampening = group.get("dampening", 0) if group.get("momentum") else 0
    method, *_ = methods
    if len(methods) > 1:  # of torch's
        method = next(method for method in methods if method.is_twin_of(group | {"dampening": 0}))
    stability_limit = method.stability_limit
    names = number_names(stability_limit)
    return stability_limit(**{name: group[name] for name in names}) / (1 - dampening)


def preconditioner(optimizer: torch.optim.Optimizer, p: Tensor, group: Group) -> Tensor:
    """The diagonal of P as the last step had it, in p's shape, at least float32.

    A step is lr·P⁻¹ times an average of the gradients. For a method that is not adaptive P is 1.
    Where an adaptive one has no state, P is infinite: p has not moved.

    Args:
        optimizer: one that `is_supported`.
        p: a parameter of it.
        group: p's, of `read_settings`.
    """
    method, *_ = _methods(optimizer)
    state = {
        key: float(value) if key == "step" else _wide(value) if torch.is_tensor(value) else value
        for key, value in optimizer.state.get(p, {}).items()
    }
    if method.preconditioner is None:
        return torch.ones_like(_wide(p.detach()))
    if not state:
        return torch.full_like(_wide(p.detach()), inf)
    return method.preconditioner(state, dict(group))


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: a bfloat16 has three digits."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
