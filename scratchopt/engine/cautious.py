"""Cautious steps: of a rule's step, only what descends by the gradient of now.

Liang et al., "Cautious Optimizers: Improving Training with One Line of Code" (2024), arXiv
2411.16085: θ ← θ + (n/Σm)·m∘s, with s the step that the rule makes and m = [s·g < 0], for each
tensor of n elements.
"""

from typing import Any

import torch
from torch import Tensor

from scratchopt.engine.operations import RuleError
from scratchopt.engine.program import Program

LEAST = 1e-3  # of the share of elements that move, as in the authors' C-AdamW

READS_P = (
    "cautious=True makes a part of the rule's step, so that the rule may only add to p, as in "
    "`p -= lr * m`: leave cautious out"
)


def make_cautious(rule: Any) -> Any:
    """A rule of whole tensors that makes the rule's step where it descends, and longer.

    The step is made from zero, and so has all its digits where p's would swallow them.
    """

    def apply(p: Tensor, g: Tensor, *buffers: Tensor, **numbers: Any) -> None:
        step = torch.zeros_like(p)
        rule(step, g, *buffers, **numbers)
        descends = step.sign() * g.sign() < 0  # step·g may be too small a number
        share = descends.mean(dtype=torch.promote_types(p.dtype, torch.float32))
        p += torch.where(descends, step, 0) / share.clamp(min=LEAST)

    return apply


def check_only_adds(label: str, program: Program) -> None:
    """Raises a RuleError where a rule does more with p than to add to it."""
    p = "x0"
    for step in program.steps:
        first, *others = step.operands
        adds = step.in_place and step.operation in ("add", "sub") and p not in others
        if p in step.operands and not adds:
            raise RuleError(f"{label} reads p, and {READS_P}")
        if first == p:
            p = step.name
