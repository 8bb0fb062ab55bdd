"""The settings of a method on the playground: its hyperparameters, and what their sliders need."""

import inspect
from math import inf
from typing import Any

from scratchopt.engine.update import number_names
from scratchopt.optimizer import Optimizer, Options
from scratchopt.ranges import COMMON

LABELS = {"momentum": "μ", "betas": "β", "alpha": "α", "eps": "ε", "weight_decay": "weight decay"}
# Arguments of constructors that no rule takes, or that need whole tensors.
LEFT_OUT = {*Options.__annotations__, "capturable", "cautious"} - {"weight_decay"}

Group = dict[str, Any]


def find_settings(optimizer: Optimizer) -> list[str]:
    """Finds the hyperparameters that decide a step; each number of a pair is one, as betas[0]."""
    [group] = optimizer.param_groups
    cls, update = type(optimizer), optimizer.update_of(group)
    taken = {*update.names, *number_names(cls.stability_limit)}
    taken |= set(update.step_numbers.names) if update.step_numbers else set()
    found = []
    for name in [*inspect.signature(cls).parameters, "weight_decay", *update.names]:
        value = group.get(name)
        if name in LEFT_OUT or not isinstance(value, float | int | tuple):
            continue
        if isinstance(value, tuple):
            found += [f"{name}[{i}]" for i in range(len(value))]
        elif name in taken or is_switch(optimizer, name):
            found.append(name)
    return list(dict.fromkeys(found))


def is_switch(optimizer: Optimizer, name: str) -> bool:
    """Tells whether a setting chooses between two updates, by being 0 or not."""
    [group] = optimizer.param_groups
    off, on = (turn(group, name, on) for on in (False, True))
    return optimizer.update_of(off) is not optimizer.update_of(on)


def turn(group: Group, name: str, on: bool) -> Group:
    """Makes a group in which a setting is off, 0 or False, or on."""
    if name not in group:  # a number of a pair
        return group
    return group | {name: on if isinstance(group[name], bool) else 0.5 * on}


def describe_setting(optimizer: Optimizer, setting: str) -> dict[str, Any]:
    """Describes a setting: its name, label, default, range and scale.

    The scale is memory for what lies in [0, 1) and is near 1, log for other numbers, count for
    whole ones, boolean for truth values.
    """
    name, _, index = setting.rstrip("]").partition("[")
    value = optimizer.param_groups[0][name]
    value = value[int(index)] if index else value
    ranges = (*optimizer.ranges, *COMMON)
    low, high = next(((r.low, r.high) for r in ranges if r.name == name), (0, inf))
    if isinstance(value, bool):
        scale = "boolean"
    elif high == 1 or 0.5 < value < 1:
        scale = "memory"
    else:
        scale = "count" if isinstance(value, int) and name.endswith("steps") else "log"
    return {
        "name": setting,
        "label": LABELS.get(name, name) + (chr(ord("₁") + int(index)) if index else ""),
        "value": value,
        "low": low,
        "high": None if high == inf else high,
        "scale": scale,
    }
