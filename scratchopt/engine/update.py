"""What the options of a group come to: a rule, with what comes before it, and who runs it."""

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any, NamedTuple, TypeAlias

from scratchopt.engine import eager as drivers

Rule: TypeAlias = Callable[..., Any]


class Recipe(NamedTuple):
    """What is done to the parameters of a group.

    Args:
        keys: of the rule's buffers in the state, in the rule's order.
        names: of the numbers that it takes from the group.
        update: the rule, with what comes before it.
        driver: that runs it; see `scratchopt.engine.eager`.
        timed: how the steps are counted: as a "number"; as a "tensor", where autograd or a CUDA
            graph must see them; or not at all, "".
        fused: whether the driver is the compiled one.
        compensated: whether parameters and buffers are sums of two numbers of their dtype.
        differentiable: whether autograd goes through the step.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    update: Any
    driver: Any
    timed: str
    fused: bool
    compensated: bool
    differentiable: bool

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Keys of the buffers, then of what parameter and buffers are short of, if compensated."""
        return with_compensations(self.keys) if self.compensated else self.keys


def with_compensations(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of buffers, and of what the parameter and each buffer are short of."""
    return (*keys, "compensation", *(f"{key}_compensation" for key in keys))


@cache
def recipe(
    rule: Rule,
    keys: tuple[str, ...],
    penalized: Rule,
    maximize: bool,
    decay: bool,
    decoupled: bool,
    differentiable: bool,
    capturable: bool,
    fused: bool,
    foreach: bool | None,
    compensated: bool,
) -> Recipe:
    """What the options of a group come to; the same object for the same choices."""
    refuse_together(fused, foreach, differentiable, capturable, compensated)
    names = numbers_of(rule)
    timed = "" if "t" not in names else "tensor" if differentiable or capturable else "number"
    driver = drivers.by_size
    if differentiable or capturable:
        driver = drivers.traced
    elif fused:
        from scratchopt.engine.compiled import (
            compiled as driver,  # and what it imports, for who wants it
        )
    elif foreach is not None:
        driver = drivers.together if foreach else drivers.one_by_one

    def update(p: Any, g: Any, *buffers: Any, weight_decay: Any, **numbers: Any) -> None:
        if maximize:
            g = -g
        if decay and decoupled:
            p *= 1 - numbers["lr"] * weight_decay
        elif decay:
            g = g + weight_decay * penalized(p, *buffers, **numbers)
        rule(p, g, *buffers, **numbers)

    names = (*(name for name in names if name != "t"), "weight_decay")
    return Recipe(keys, names, update, driver, timed, fused, compensated, differentiable)


def refuse_together(
    fused: Any, foreach: Any, differentiable: Any, capturable: Any, compensated: Any
) -> None:
    """Raises a RuntimeError where options exclude each other."""
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if compensated and differentiable:
        raise RuntimeError("`compensated` does not support `differentiable`")
    for name, option in (("fused", fused), ("foreach", foreach)):
        if capturable and option:
            raise RuntimeError(f"`{name}` does not support `capturable`: leave one of them out")


@cache
def numbers_of(rule: Rule) -> tuple[str, ...]:
    arguments = signature(rule).parameters.values()
    return tuple(a.name for a in arguments if a.kind == a.KEYWORD_ONLY)
