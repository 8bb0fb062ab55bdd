"""Stochastic gradient descent."""

from scratchopt.optimizer import Optimizer, Params


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins and Monro, 1951).

    θ ← θ − lr·g, with g = ∇f(θ) on the mini-batch at hand.

    No state. On a quadratic of curvature λ it converges for lr·λ < 2.

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        lr: step size, lr >= 0; a number or a one-element tensor.
        weight_decay: L2 penalty, added to the gradient as weight_decay·θ; >= 0.
        maximize: ascend instead of descend.
        foreach: True, all tensors of a group at once; False, one by one; None, by their size.
        differentiable: lets autograd through the step.
        fused: True, the rule is compiled to one kernel that updates all tensors.
        compensated: keep what rounding takes from parameters and state, and add it in the next
            step: for bf16, at twice the memory.

    Raises:
        ValueError: a value out of its range.

    Reference: Robbins and Monro, "A stochastic approximation method", Annals of Mathematical
    Statistics 22 (1951).

    >>> import torch
    >>> x = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SGD([x], lr=0.25)
    >>> (x**2).sum().backward()
    >>> optimizer.step()
    >>> x.item()
    0.5
    """

    sparse = True
    fixed = {"momentum": 0, "dampening": 0, "nesterov": False}  # noqa: RUF012

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        compensated: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
                "compensated": compensated,
            },
        )

    @staticmethod
    def rule(p, g, *, lr):
        p -= lr * g
