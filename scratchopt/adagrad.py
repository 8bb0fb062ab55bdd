"""Adagrad: a step size for each parameter, from the squares of all its gradients."""

from typing import Any

import torch
from torch import Tensor

from scratchopt.optimizer import Optimizer, Params


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011).

    s ← s + g²
    θ ← θ − lr/(1 + (t − 1)·lr_decay) · g/(√s + eps),      with g = ∇f(θ), element by element.

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        lr: step size, lr >= 0; a number or a one-element tensor.
        lr_decay: how fast the step size falls by itself; >= 0.
        weight_decay: L2 penalty, added to the gradient as weight_decay·θ; >= 0.
        initial_accumulator_value: what s starts with; >= 0.
        eps: keeps off a division by zero; >= 0.
        foreach: True, all tensors of a group at once; False, one by one; None, by their size.
        maximize: ascend instead of descend.
        differentiable: lets autograd through the step.
        fused: True, the rule is compiled to one kernel that updates all tensors.
        compensated: keep what rounding takes from parameters and state, and add it in the next
            step: for bf16, at twice the memory.

    State: `step`, t; `sum`, s, of the parameter's shape and dtype. Both are there from the start.

    Raises:
        ValueError: a value out of its range.

    Reference: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12 (2011).

    >>> x = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adagrad([x], lr=0.5)
    >>> (x**2).sum().backward()
    >>> optimizer.step()
    >>> x.item()  # the first step is lr in each direction
    0.5
    """

    buffers = ("sum",)
    foreign = ("velocity", "momentum_buffer", "square_avg", "exp_avg")

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        compensated: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
                "compensated": compensated,
            },
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, with its state: torch's Adagrad, too, has it before the first step."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            self.new_state(p, group)

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor:
        """The initial accumulator value, in each component of a complex number."""
        value = group["initial_accumulator_value"]
        full = torch.full_like(p, value, memory_format=torch.preserve_format)
        return full + 1j * value if p.is_complex() else full

    @staticmethod
    def rule(p, g, s, *, t, lr, lr_decay, eps):
        s += g * g
        p -= lr / (1 + (t - 1) * lr_decay) * g / (s.sqrt() + eps)
