"""Converts torch's optimizers to ours and back, in the middle of a run."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch

from scratchopt.method_files import method_classes
from scratchopt.optimizer import Optimizer


def from_torch(optimizer: torch.optim.Optimizer) -> Optimizer:
    """Our twin of a torch optimizer, for the same parameters, which goes on where that stands.

    Where a state is torch's it is copied. `Momentum`'s velocity is −lr·buffer at the lr of now: so
    both continue alike while lr stays what it is, and part, as the methods do, when it changes.
    What a scheduler left in the groups comes along, and the scheduler itself with
    `scheduler.optimizer = twin`.

    Args:
        optimizer: a `torch.optim.SGD`, `Adagrad`, `RMSprop`, `Adam`, `AdamW`, `NAdam`, `RAdam`,
            `Adafactor` or `Muon`.

    Raises:
        ValueError: one that has no counterpart here.
    """
    theirs = type(optimizer)
    found = {_twin(theirs, group) for group in optimizer.param_groups}
    if len(found) > 1:
        groups = " and ".join(sorted(ours.__name__ for ours in found))
        raise ValueError(
            f"torch.optim.{theirs.__name__} with groups of {groups} has no counterpart in "
            "scratchopt"
        )
    ours = found.pop()
    return _rebuild(optimizer, ours, ours.from_torch_state)


def to_torch(optimizer: Optimizer) -> torch.optim.Optimizer:
    """Torch's twin of one of our optimizers, for the same parameters; see `from_torch`.

    Args:
        optimizer: an `SGD`, `Momentum`, `NAGTorch`, `Adagrad`, `RMSprop`, `Adam`, `AdamW`, `NAdam`,
            `RAdam`, `Adafactor` or, of matrices alone, `Muon`.

    Raises:
        ValueError: one that has no counterpart in torch, or a velocity at lr = 0.
    """
    ours = type(optimizer)
    twin = vars(ours).get("torch_twin")  # what is derived from a method may be another one
    if not (twin and hasattr(torch.optim, twin)):
        raise ValueError(f"{ours.__name__} has no counterpart in torch.optim")
    for group in optimizer.param_groups:
        if (other := optimizer.method_for(group)) is not ours:
            raise ValueError(
                f"torch.optim.{twin} updates all of its groups by itself, and a group of this "
                f"{ours.__name__} is {other.__name__}'s: convert two optimizers, of a method each"
            )
    return _rebuild(optimizer, getattr(torch.optim, twin), ours.to_torch_state)


def find_twins(theirs: type) -> list[type[Optimizer]]:
    """Finds our methods that a class of torch's is, in one group or another."""
    return [
        ours
        for ours in method_classes().values()
        if ours.torch_twin and getattr(torch.optim, ours.torch_twin, None) is theirs
    ]


def _twin(theirs: type, group: dict[str, Any]) -> type[Optimizer]:
    twins = find_twins(theirs)
    for ours in twins:
        if ours.is_twin_of(group):
            return ours
    fixed = dict.fromkeys(name for ours in twins for name in ours.fixed if group[name])
    chosen = [name for name in fixed if not any(_may_have(o, name, group[name]) for o in twins)]
    settings = f" with {' and '.join(chosen)}" if chosen else ""
    raise ValueError(f"torch.optim.{theirs.__name__}{settings} has no counterpart in scratchopt")


def _may_have(ours: type[Optimizer], name: str, value: Any) -> bool:
    """True if one of our methods may have a setting of its torch twin."""
    return ours.fixed.get(name) == value or name in signature(ours).parameters


def _rebuild(optimizer: Any, cls: type, convert: Callable[[Any, Any], dict[str, Any]]) -> Any:
    """An optimizer of another class with the same groups and copies of the same state."""
    twin = cls([{"params": list(group["params"])} for group in optimizer.param_groups])
    twin.defaults.update({k: v for k, v in optimizer.defaults.items() if k in twin.defaults})
    for group, old in zip(twin.param_groups, optimizer.param_groups, strict=True):
        unknown = {key for key, value in old.items() if key not in group and value is True}
        if unknown & set(optimizer.defaults):
            raise ValueError(f"{cls.__name__} has no option {', '.join(sorted(unknown))}")
        known = {key: value for key, value in old.items() if key not in optimizer.defaults}
        group.update(known | {key: old[key] for key in group if key in old})
    ours: Any = twin if isinstance(twin, Optimizer) else optimizer
    numbers = ours.kept_numbers
    for group in twin.param_groups:
        if isinstance(twin, Optimizer):
            twin.check_group(group)  # which may have options of torch's twin that ours can't have
        fused = group.get("fused") and not isinstance(twin, Optimizer)  # ours counts on the CPU
        for p in group["params"]:
            copies = {
                key: value.clone() if isinstance(value, torch.Tensor) else value
                for key, value in optimizer.state.get(p, {}).items()
            }
            state = convert(copies, group)
            place = p.device if fused or group.get("capturable") else "cpu"
            for name in ("step", *numbers):
                if isinstance(number := state.get(name), torch.Tensor):
                    state[name] = number.to(place)
            if state:
                twin.state[p] = state
    return twin
