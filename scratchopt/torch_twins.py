"""From torch's optimizers to ours and back, in the middle of a run."""

from typing import Any

import torch

from scratchopt.adagrad import Adagrad
from scratchopt.adam import Adam
from scratchopt.adamw import AdamW
from scratchopt.hyperparameters import as_number
from scratchopt.momentum import Momentum
from scratchopt.nag_torch import NAGTorch
from scratchopt.optimizer import Optimizer
from scratchopt.rmsprop import RMSprop
from scratchopt.sgd import SGD

_SAME_STATE: dict[type, type] = {
    torch.optim.Adagrad: Adagrad,
    torch.optim.RMSprop: RMSprop,
    torch.optim.Adam: Adam,
    torch.optim.AdamW: AdamW,
}
_TORCHS = {ours: theirs for theirs, ours in _SAME_STATE.items()}


def from_torch(optimizer: torch.optim.Optimizer) -> Optimizer:
    """Our twin of a torch optimizer, for the same parameters, which goes on where that stands.

    Where a state is torch's it is copied. `Momentum`'s velocity is −lr·buffer at the lr of now: so
    both continue alike while lr stays what it is, and part, as the methods do, when it changes.
    What a scheduler left in the groups comes along, and the scheduler itself with
    `scheduler.optimizer = twin`.

    Args:
        optimizer: a `torch.optim.SGD`, `Adagrad`, `RMSprop`, `Adam` or `AdamW`.

    Raises:
        ValueError: one that has no counterpart here.
    """
    theirs = type(optimizer)
    if theirs is torch.optim.SGD:
        ours = _method_of_sgd(optimizer)
    elif theirs in _SAME_STATE:
        ours = _SAME_STATE[theirs]
    else:
        raise ValueError(f"torch.optim.{theirs.__name__} has no counterpart in scratchopt")
    twin = _rebuilt(optimizer, ours, drop=("dampening", "nesterov"))
    if ours is Momentum:
        _rename(twin, "momentum_buffer", "velocity", lambda buffer, lr: -lr * buffer)
    return twin


def to_torch(optimizer: Optimizer) -> torch.optim.Optimizer:
    """Torch's twin of one of our optimizers, for the same parameters; see `from_torch`.

    Args:
        optimizer: an `SGD`, `Momentum`, `NAGTorch`, `Adagrad`, `RMSprop`, `Adam` or `AdamW`.

    Raises:
        ValueError: one that has no counterpart in torch, or a velocity at lr = 0.
    """
    ours = type(optimizer)
    if ours in _TORCHS:
        return _rebuilt(optimizer, _TORCHS[ours], drop=())
    if ours not in (SGD, Momentum, NAGTorch):
        raise ValueError(f"{ours.__name__} has no counterpart in torch.optim")
    twin = _rebuilt(optimizer, torch.optim.SGD, drop=())
    if ours is Momentum:
        if any(as_number(group["lr"]) == 0 for group in twin.param_groups):
            raise ValueError("Invalid learning rate: 0 (a velocity has no buffer there; lr > 0)")
        _rename(twin, "velocity", "momentum_buffer", lambda v, lr: -v / lr)
    return twin


def _method_of_sgd(optimizer: torch.optim.Optimizer) -> type[Optimizer]:
    groups = optimizer.param_groups
    if any(group["dampening"] != 0 for group in groups):
        raise ValueError("torch.optim.SGD with dampening has no counterpart in scratchopt")
    methods = {
        (NAGTorch if group["nesterov"] else Momentum) if group["momentum"] else SGD
        for group in groups
    }
    if len(methods) > 1:
        names = " and ".join(sorted(method.__name__ for method in methods))
        raise ValueError(f"torch.optim.SGD with groups of {names} has no counterpart in scratchopt")
    return methods.pop()


def _rebuilt(optimizer: Any, cls: type, drop: tuple[str, ...]) -> Any:
    """An optimizer of another class with the same groups and copies of the same state."""
    twin = cls([{"params": list(group["params"])} for group in optimizer.param_groups])
    twin.defaults.update({k: v for k, v in optimizer.defaults.items() if k in twin.defaults})
    for group, old in zip(twin.param_groups, optimizer.param_groups, strict=True):
        unknown = {key for key, value in old.items() if key not in group and value is True}
        if unknown & set(optimizer.defaults) - set(drop):
            raise ValueError(f"{cls.__name__} has no option {', '.join(sorted(unknown))}")
        known = {key: value for key, value in old.items() if key not in optimizer.defaults}
        group.update(known | {key: old[key] for key in group if key in old})
    for p, state in optimizer.state.items():
        twin.state[p] = {
            key: value.clone() if isinstance(value, torch.Tensor) else value
            for key, value in state.items()
        }
    for group in twin.param_groups:
        fused = group.get("fused") and not isinstance(twin, Optimizer)  # ours counts on the CPU
        for p in group["params"]:
            if isinstance(step := twin.state.get(p, {}).get("step"), torch.Tensor):
                counted = p.device if fused or group.get("capturable") else "cpu"
                twin.state[p]["step"] = step.to(counted)
    return twin


def _rename(optimizer: Any, old: str, new: str, convert: Any) -> None:
    for group in optimizer.param_groups:
        for p in group["params"]:
            state = optimizer.state.get(p, {})
            if state.get(old) is not None:
                state[new] = convert(state.pop(old), as_number(group["lr"]))
