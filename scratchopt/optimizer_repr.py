"""The line in which an optimizer shows its hyperparameters, parameters and state."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from scratchopt.method import Method


def describe_optimizer(
    optimizer: torch.optim.Optimizer, defaults: Mapping[str, Any], ahead: bool
) -> str:
    """Describes an optimizer in a line, of several groups in a line for each.

    An option is left out where it has its default. No state is made.

    Args:
        optimizer: with groups and state as torch has them.
        defaults: of the options that every method has.
        ahead: true if its parameters are at the gradient point.
    """
    name, groups = type(optimizer).__name__, getattr(optimizer, "param_groups", [])
    settings = [_describe_group(optimizer, group, defaults) for group in groups]
    rest = _describe_state(optimizer) + (", at the gradient point" if ahead else "")
    if len(groups) == 1:
        return f"{name}({settings[0]}): {_count(groups[0].get('params', []))}{rest}"
    parameters = [group.get("params", []) for group in groups]
    all_of_them = [p for several in parameters for p in several]
    lines = [
        f"\n  {setting}: {_count(several)}"
        for setting, several in zip(settings, parameters, strict=True)
    ]
    return f"{name} of {len(groups)} groups: {_count(all_of_them)}{rest}{''.join(lines)}"


def _describe_group(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], defaults: Mapping[str, Any]
) -> str:
    """The hyperparameters of a group, which may be another method's, as AdamW's in a Muon."""
    own = type(optimizer)
    method = own.method_for(group) if issubclass(own, Method) else own
    taken = _find_arguments(method)
    keys = list(getattr(optimizer, "defaults", {}) if method is own else taken | {**defaults})
    keys = [key for key in keys if key != "params"]
    keys.sort(key=defaults.__contains__)  # the method's own come first
    plain = {key: default for key, default in taken.items() if _is_word(default)} | {**defaults}

    def is_told(key: str, value: Any) -> bool:
        if isinstance(value, bool) and key not in (taken | plain):
            return False  # the method's own choice, as AdamW's decoupled_weight_decay
        is_plain = isinstance(value, str | float | int | None)
        return key not in plain or not is_plain or value != plain[key]

    return ", ".join(
        f"{key}={_format(group[key])}"
        for key in dict.fromkeys([*_find_labels(group), *keys])
        if key in group and is_told(key, group[key])
    )


def _find_labels(group: Mapping[str, Any]) -> list[str]:
    """The keys by which a user tells groups apart, such as `name`."""
    return [key for key, value in group.items() if isinstance(value, str)]


def _find_arguments(kind: type) -> dict[str, Any]:
    """The arguments of a method's constructor, and those of its bases' that it passes on by **."""
    found: dict[str, Any] = {}
    for cls in kind.__mro__:
        if issubclass(cls, Method) and "__init__" in vars(cls):
            arguments = signature(cls.__init__).parameters.values()
            found = {each.name: each.default for each in arguments} | found
            last = list(arguments)[-1]
            if last.kind is not Parameter.VAR_KEYWORD or "Unpack" in str(last.annotation):
                break
    return found


def _is_word(value: Any) -> bool:
    return isinstance(value, bool | str | None)


def _format(value: Any) -> str:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 and not value.is_meta else "a tensor"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_format, value))})"
    return str(value)


def _count(parameters: list[Tensor]) -> str:
    sizes = [p.numel() for p in parameters if not is_lazy(p)]
    words = f"{len(parameters):,} tensor{'s' * (len(parameters) != 1)}"
    words += f" of {sum(sizes):,} number{'s' * (sum(sizes) != 1)}"
    lazy = len(parameters) - len(sizes)
    return f"{words}, {lazy:,} of them not made yet" if lazy else words


def _describe_state(optimizer: torch.optim.Optimizer) -> str:
    """Describes what there is of state; nothing where there is none."""
    found = getattr(optimizer, "state", {}).values()  # a copy that is being made has none
    states = [values for values in found if isinstance(values, dict)]
    tensors = [x for values in states for x in values.values() if isinstance(x, Tensor)]
    if not tensors:
        return ""
    steps = [values["step"] for values in states if "step" in values]
    last = max(map(_whole, steps), default=0)
    after = f" after step {last:,}" if last else ""
    return f", state of {sum(x.nbytes for x in tensors):,} bytes{after}"


def _whole(step: Any) -> int:
    """A count of steps; 0 where there is none to read, as on meta or in a spoilt state."""
    try:
        return int(step)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return 0
