"""The list of what a rule may do to its tensors, for every driver and docs/reference/rules.md."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class RuleError(RuntimeError):
    """A rule, or a gradient point, that does what it may not; nothing was changed by it."""


class Operation(NamedTuple):
    """An operation on tensors, element by element, so that a compiler may make it part of a loop.

    Args:
        spelling: how a rule writes it.
        c: its expression in C.
        js: its expression in JavaScript.
        function: what it is on plain tensors.
        gives_mask: whether the result is a truth value of each element.
    """

    spelling: str
    c: str
    js: str
    function: Callable[..., Any]
    gives_mask: bool = False


# A NaN goes through maximum, minimum and clamp, as in torch.
OPERATIONS = {
    "add": Operation("a + b", "{} + {}", "{} + {}", operator.add),
    "sub": Operation("a - b", "{} - {}", "{} - {}", operator.sub),
    "mul": Operation("a * b", "{} * {}", "{} * {}", operator.mul),
    "div": Operation("a / b", "{} / {}", "{} / {}", operator.truediv),
    "pow": Operation("a ** b", "pow({}, {})", "Math.pow({}, {})", operator.pow),
    "neg": Operation("-a", "-{}", "-{}", operator.neg),
    "abs": Operation("abs(a)", "fabs({})", "Math.abs({})", torch.abs),
    "sign": Operation(
        "torch.sign(a)", "(number)(({0} > 0) - ({0} < 0))", "(({0} > 0) - ({0} < 0))", torch.sign
    ),
    "sqrt": Operation("torch.sqrt(a)", "sqrt({})", "Math.sqrt({})", torch.sqrt),
    "rsqrt": Operation("torch.rsqrt(a)", "1 / sqrt({})", "1 / Math.sqrt({})", torch.rsqrt),
    "exp": Operation("torch.exp(a)", "exp({})", "Math.exp({})", torch.exp),
    "log": Operation("torch.log(a)", "log({})", "Math.log({})", torch.log),
    "maximum": Operation(
        "torch.maximum(a, b)",
        "({0} > {1} || {0} != {0} ? {0} : {1})",
        "Math.max({}, {})",
        torch.maximum,
    ),
    "minimum": Operation(
        "torch.minimum(a, b)",
        "({0} < {1} || {0} != {0} ? {0} : {1})",
        "Math.min({}, {})",
        torch.minimum,
    ),
    "clamp_min": Operation(
        "a.clamp(min=b)",
        "({0} < {1} || {1} != {1} ? {1} : {0})",
        "Math.max({}, {})",
        torch.clamp_min,
    ),
    "clamp_max": Operation(
        "a.clamp(max=b)",
        "({0} > {1} || {1} != {1} ? {1} : {0})",
        "Math.min({}, {})",
        torch.clamp_max,
    ),
    "gt": Operation("a > b", "{} > {}", "{} > {}", operator.gt, gives_mask=True),
    "ge": Operation("a >= b", "{} >= {}", "{} >= {}", operator.ge, gives_mask=True),
    "lt": Operation("a < b", "{} < {}", "{} < {}", operator.lt, gives_mask=True),
    "le": Operation("a <= b", "{} <= {}", "{} <= {}", operator.le, gives_mask=True),
    "eq": Operation("a == b", "{} == {}", "{} === {}", operator.eq, gives_mask=True),
    "ne": Operation("a != b", "{} != {}", "{} !== {}", operator.ne, gives_mask=True),
    "and_": Operation("c & d", "{} && {}", "{} && {}", operator.and_, gives_mask=True),
    "or_": Operation("c | d", "{} || {}", "{} || {}", operator.or_, gives_mask=True),
    "invert": Operation("~c", "!{}", "!{}", operator.invert, gives_mask=True),
    "where": Operation("torch.where(c, a, b)", "({} ? {} : {})", "({} ? {} : {})", torch.where),
}

# Functions of torch that a rule may call, by what they are on a `Vector` or a stand-in.
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.abs: abs,
    torch.pow: operator.pow,
    torch.where: lambda condition, a, b: condition.where(a, b),
}
_METHODS = ("sign", "sqrt", "rsqrt", "exp", "log", "maximum", "minimum")
_CLAMPS = ("clamp", "clamp_min", "clamp_max")


def _method(name: str) -> Callable[..., Any]:
    return lambda a, *arguments, **options: getattr(a, name)(*arguments, **options)


FUNCTIONS |= {getattr(torch, name): _method(name) for name in (*_METHODS, *_CLAMPS)}

PERMITTED = (
    "+ - * / **, comparisons, abs, sign, sqrt, rsqrt, exp, log, maximum, minimum, clamp, "
    "clamp_min_, clamp_max_ and torch.where on its tensors, and operators on its numbers"
)
