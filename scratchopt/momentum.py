"""Stochastic gradient descent with momentum: the heavy ball."""

from scratchopt.optimizer import Optimizer, Params


class Momentum(Optimizer):
    """Gradient descent with momentum (Polyak, 1964), in the form of Sutskever et al. (2013).

    v ← μv − lr·g
    θ ← θ + v,      with g = ∇f(θ), v₀ = 0, μ = momentum.

    The velocity is a displacement: torch's `momentum_buffer` is −v/lr, so the two methods agree
    while lr is constant and part when it changes. On a quadratic of curvature λ it converges for
    lr·λ < 2(1 + μ).

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        lr: step size, lr >= 0; a number or a one-element tensor.
        momentum: fraction of the velocity kept each step, μ in [0, 1).
        weight_decay: L2 penalty, added to the gradient as weight_decay·θ; >= 0.
        maximize: ascend instead of descend.
        foreach: True, all tensors of a group at once; False, one by one; None, by their size.
        differentiable: lets autograd through the step.
        fused: True, the rule is compiled to one kernel that updates all tensors.
        compensated: keep what rounding takes from parameters and state, and add it in the next
            step: for bf16, at twice the memory.

    State: `velocity`, v, of the parameter's shape and dtype.

    Raises:
        ValueError: a value out of its range.

    Reference: Polyak, "Some methods of speeding up the convergence of iteration methods", USSR
    Computational Mathematics and Mathematical Physics 4 (1964); Sutskever, Martens, Dahl and
    Hinton, "On the importance of initialization and momentum in deep learning", ICML 2013.

    >>> import torch
    >>> x = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Momentum([x], lr=0.25, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (x**2).sum().backward()
    ...     optimizer.step()
    >>> x.item()  # 1 → 0.5 → 0.5 + 0.5·(−0.5) − 0.25·1
    0.0
    """

    buffers = ("velocity",)
    foreign = ("momentum_buffer", "square_avg", "exp_avg", "sum")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.9,
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
                "momentum": momentum,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
                "compensated": compensated,
            },
        )

    @staticmethod
    def rule(p, g, v, *, lr, momentum):
        v *= momentum
        v -= lr * g
        p += v
