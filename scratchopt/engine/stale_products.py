"""Replays a rule on lists of one number, to see whether a `Vector` may put its products off."""

import operator
from functools import cache
from typing import Any

import torch

from scratchopt.engine.operations import OPERATIONS
from scratchopt.engine.program import Program
from scratchopt.engine.vector import Stale, Vector

_IN_PLACE = {
    "add": operator.iadd,
    "sub": operator.isub,
    "mul": operator.imul,
    "div": operator.itruediv,
    "pow": operator.ipow,
    "clamp_min": lambda a, b: a.clamp_min_(b),
    "clamp_max": lambda a, b: a.clamp_max_(b),
}


@cache
def suits_lists(program: Program) -> bool:
    """True if no product or sum is used after its parts, or its memory, have changed.

    Where it is False, the rule is run tensor by tensor, which knows no such limit.
    """
    known: dict[Any, Any] = {f"f{k}": 0.5 for k in range(program.factors)}
    for i in range(len(program.results)):
        known[f"x{i}"] = Vector([torch.ones(1)], role="" if i == 1 else "named")
    try:
        for step in program.steps:
            name = step.operation
            function = _IN_PLACE[name] if step.in_place else OPERATIONS[name].function
            known[step.name] = function(*(known.get(x, x) for x in step.operands))
    except Stale:
        return False
    return True
