"""A state that is loaded into an optimizer: another method's is refused, an older one filled in."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor

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
    others = (
        key
        for source in methods().values()
        for attribute in ("buffers", "kept_numbers")
        for key in source.literal(attribute, ())
    )
    known = dict.fromkeys(others)
    for group in state["param_groups"]:
        own = method.method_for(group)
        for name, value in own.fixed.items():
            if group.get(name, value) != value:
                raise ValueError(f"{own.__name__} has no {name}={group[name]}: {_REMEDY}")
        states = [state["state"][p] for p in group["params"] if p in state["state"]]
        for key in known:
            # torch's SGD keeps a buffer that is None where there is no momentum.
            kept = any(values.get(key) is not None for values in states)
            if kept and key not in (*own.buffers, *own.kept_numbers):
                raise ValueError(f"{own.__name__} keeps no {key}: {_REMEDY}")
        for key in own.kept_numbers:
            if any(values and key not in values for values in states):
                raise ValueError(f"{own.__name__} keeps {key}, and the state has none: {_REMEDY}")


def with_plain_numbers(state: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A `state_dict` whose numbers of some names are Python's: torch casts tensors to p's dtype.

    Args:
        state: a `state_dict`.
        names: of numbers in the state of each parameter.
    """
    if not names:
        return state
    plain = {
        index: {
            key: float(value) if key in names and not _is_meta(value) else value
            for key, value in values.items()
        }
        for index, values in state["state"].items()
    }
    return {**state, "state": plain}


def _is_meta(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_meta


def fill_in(
    groups: list[dict[str, Any]],
    state: dict[Any, dict[str, Any]],
    defaults_of: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Fills in what an older version or torch did not save, and makes each step a tensor.

    Args:
        groups: of parameters, as they were loaded.
        state: of the parameters, as it was loaded.
        defaults_of: finds the defaults of a group.
    """
    for group in groups:
        for name, value in defaults_of(group).items():
            group.setdefault(name, value)
        for values in (state[p] for p in group["params"] if p in state):
            if "step" in values:  # older versions of torch save a number
                place = values["step"] if group.get("capturable") else None
                values["step"] = torch.as_tensor(
                    values["step"], dtype=torch.float32, device=getattr(place, "device", "cpu")
                )


def restore_dtypes(
    state: dict[Any, dict[str, Any]],
    groups: list[dict[str, Any]],
    saved: dict[str, Any],
    dtype_of: Callable[[str, Tensor, dict[str, Any]], torch.dtype],
) -> None:
    """Restores buffers that have not the dtype of their parameter, to which torch has cast them.

    Args:
        state: of the parameters, as torch has loaded it.
        groups: of parameters.
        saved: the `state_dict` that was loaded.
        dtype_of: the dtype in which a buffer of a parameter is kept, by its key and the group.
    """
    indices = chain.from_iterable(group["params"] for group in saved["param_groups"])
    for group in groups:
        for p, index in zip(group["params"], indices, strict=False):
            for key, value in saved["state"].get(index, {}).items():
                if key == "step" or not isinstance(value, Tensor) or value.dtype == p.dtype:
                    continue
                if dtype_of(key.removesuffix("_compensation"), p, group) == value.dtype:
                    state[p][key] = value.to(p.device, copy=True)
