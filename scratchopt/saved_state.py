"""A state that is loaded into an optimizer: another method's is refused, an older one filled in."""

from typing import Any

import torch

from scratchopt.method import Method
from scratchopt.method_files import methods

_REMEDY = "scratchopt.from_torch and to_torch convert optimizers"


def refuse_foreign(method: type[Method], state: dict[str, Any]) -> None:
    """Refuses the state of another method.

    Args:
        method: whose optimizer loads the state.
        state: a `state_dict`.

    Raises:
        ValueError: a value in a group, or a buffer, that the method does not have.
    """
    for name, value in method.fixed.items():
        for group in state["param_groups"]:
            if group.get(name, value) != value:
                raise ValueError(f"{method.__name__} has no {name}={group[name]}: {_REMEDY}")
    others = (key for source in methods().values() for key in source.literal("buffers", ()))
    for key in dict.fromkeys(others):
        # torch's SGD keeps a buffer that is None where there is no momentum.
        kept = any(values.get(key) is not None for values in state["state"].values())
        if kept and key not in method.buffers:
            raise ValueError(f"{method.__name__} keeps no {key}: {_REMEDY}")


def fill_in(
    groups: list[dict[str, Any]], state: dict[Any, dict[str, Any]], defaults: dict[str, Any]
) -> None:
    """Fills in what an older version or torch did not save, and makes each step a tensor.

    Args:
        groups: of parameters, as they were loaded.
        state: of the parameters, as it was loaded.
        defaults: of the groups.
    """
    for group in groups:
        for name, value in defaults.items():
            group.setdefault(name, value)
        for values in (state[p] for p in group["params"] if p in state):
            if "step" in values:  # older versions of torch save a number
                place = values["step"] if group.get("capturable") else None
                values["step"] = torch.as_tensor(
                    values["step"], dtype=torch.float32, device=getattr(place, "device", "cpu")
                )
