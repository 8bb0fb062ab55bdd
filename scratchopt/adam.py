"""Adam: momentum, and a step size for each parameter."""

from typing import Any

from torch import Tensor

from scratchopt.engine.update import Rule
from scratchopt.optimizer import Optimizer, Params


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), and AMSGrad (Reddi, Kale and Kumar, 2018).

    m ← β₁·m + (1 − β₁)·g
    v ← β₂·v + (1 − β₂)·g²
    θ ← θ − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps),      with g = ∇f(θ), element by element.

    AMSGrad divides by the largest v so far. On a quadratic of preconditioned curvature λ, that is
    divided by √v, it converges for lr·λ < (2 + 2β₁)/(1 − β₁).

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        lr: step size, lr >= 0; a number or a one-element tensor.
        betas: memories of the mean gradient and the mean square, β₁ and β₂, each in [0, 1).
        eps: keeps off a division by zero; >= 0.
        weight_decay: L2 penalty, added to the gradient as weight_decay·θ; >= 0.
        amsgrad: the AMSGrad variant.
        foreach: True, all tensors of a group at once; False, one by one; None, by their size.
        maximize: ascend instead of descend.
        capturable: for CUDA graphs.
        differentiable: lets autograd through the step.
        fused: True, the rule is compiled to one kernel that updates all tensors.
        compensated: keep what rounding takes from parameters and state, and add it in the next
            step: for bf16, at twice the memory.
        decoupled_weight_decay: θ ← (1 − lr·weight_decay)·θ before the step, in place of the
            penalty, as in `AdamW`.

    State: `step`, t; `exp_avg`, m; `exp_avg_sq`, v; `max_exp_avg_sq` with AMSGrad; of the
    parameter's shape and dtype.

    Raises:
        ValueError: a value out of its range.

    Reference: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv
    1412.6980; Reddi, Kale and Kumar, "On the convergence of Adam and beyond", ICLR 2018, arXiv
    1904.09237.

    >>> import torch
    >>> x = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adam([x], lr=0.25)
    >>> (x**2).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 6)  # the first step is lr in each direction
    0.75
    """

    foreign = ("velocity", "momentum_buffer", "square_avg", "sum")

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        compensated: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "compensated": compensated,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    @classmethod
    def method(cls, group: dict[str, Any]) -> tuple[Rule, tuple[str, ...]]:
        """Adam's rule, or AMSGrad's."""
        if group["amsgrad"]:
            return cls.amsgrad_rule, ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        return cls.rule, ("exp_avg", "exp_avg_sq")

    @staticmethod
    def rule(p, g, m, v, *, t, lr, betas, eps):
        _moments(g, m, v, betas)
        _move(p, m, v, t, lr, betas, eps)

    @staticmethod
    def amsgrad_rule(p, g, m, v, n, *, t, lr, betas, eps):
        _moments(g, m, v, betas)
        n.clamp_min_(v)
        _move(p, m, n, t, lr, betas, eps)


def _moments(g, m, v, betas):
    m += (1 - betas[0]) * (g - m)
    v *= betas[1]
    v += (1 - betas[1]) * g * g


def _move(p, m, v, t, lr, betas, eps):
    root = v.sqrt() / (1 - betas[1] ** t) ** 0.5
    p -= lr / (1 - betas[0] ** t) * m / (root + eps)
