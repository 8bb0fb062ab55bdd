"""Adagrad: a step size for each parameter, from the squares of all its gradients."""

from typing import Any

import torch
from torch import Tensor

from scratchopt.optimizer import Optimizer, Params
from scratchopt.ranges import Range


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011).

    s ← s + g²
    θ ← θ − lr/(1 + (t − 1)·lr_decay) · g/(√s + eps),      with g = ∇f(θ), element by element.

    Sparse gradients update the entries that they have, as in torch.

    State: `step`, t; `sum`, s, of the parameter's shape and dtype. Both are there from the start.

    Reference: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12 (2011).
    """

    buffers = ("sum",)

    @staticmethod
    def rule(p, g, s, *, t, lr, lr_decay, eps):
        s += g * g
        p -= lr / (1 + (t - 1) * lr_decay) * g / (s.sqrt() + eps)

    sparse = True
    ranges = (Range("lr_decay", 0), Range("initial_accumulator_value", 0))
    torch_twin = "Adagrad"

    @staticmethod
    def stability_limit():
        return 2.0

    @staticmethod
    def preconditioner(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """P = (√s + eps)·(1 + (t − 1)·lr_decay)."""
        slowed = 1 + (state["step"] - 1) * group["lr_decay"]
        return slowed * (state["sum"].sqrt() + group["eps"])

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
        """Creates the optimizer of some parameters; the signature is torch's, and more.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            lr_decay: how fast the step size falls by itself; >= 0.
            weight_decay: L2 penalty; this and those from foreach on every method has, see
                `Optimizer`.
            initial_accumulator_value: what s starts with; >= 0.
            eps: keeps off a division by zero; >= 0.
            foreach: which tensors go together.
            maximize: ascends.
            differentiable: lets autograd through.
            fused: compiles the rule.
            compensated: keeps what rounding takes.

        Raises:
            ValueError: a value out of its range.

        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = Adagrad([x], lr=0.5)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x.item()  # the first step is lr in each direction
        0.5
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "initial_accumulator_value": initial_accumulator_value,
            },
            weight_decay=weight_decay,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            fused=fused,
            compensated=compensated,
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
