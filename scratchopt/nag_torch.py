"""Nesterov's accelerated gradient as PyTorch approximates it."""

from scratchopt.optimizer import Optimizer, Params


class NAGTorch(Optimizer):
    """PyTorch's form of Nesterov's accelerated gradient: `torch.optim.SGD(nesterov=True)`.

    v ← μv + g
    θ ← θ − lr·(g + μv),      with g = ∇f(θ), v₀ = 0, μ = momentum.

    It needs no gradient away from the parameters, because the parameters are the lookahead points:
    while lr and μ are constant, its θ equals `NAG`'s θ + μv. Under any schedule the two part.
    On a quadratic of curvature λ it converges for lr·λ < (2 + 2μ)/(1 + 2μ).

    Args:
        params: parameters, or groups of them, as for any torch optimizer.
        lr: step size, lr >= 0; a number or a one-element tensor.
        momentum: fraction of the buffer kept each step, μ in [0, 1).
        weight_decay: L2 penalty, added to the gradient as weight_decay·θ; >= 0.
        maximize: ascend instead of descend.
        foreach: True, all tensors of a group at once; False, one by one; None, by their size.
        differentiable: lets autograd through the step.
        fused: True, the rule is compiled to one kernel that updates all tensors.
        compensated: keep what rounding takes from parameters and state, and add it in the next
            step: for bf16, at twice the memory.

    State: `momentum_buffer`, v, of the parameter's shape and dtype, as torch has it.

    Raises:
        ValueError: a value out of its range.

    Reference: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and
    momentum in deep learning", ICML 2013; the form itself is that of torch's documentation.

    >>> import torch
    >>> x = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = NAGTorch([x], lr=0.25, momentum=0.5)
    >>> (x**2).sum().backward()
    >>> optimizer.step()
    >>> x.item()  # NAG has x = 0.5, v = −0.5 here, and looks ahead to 0.25
    0.25
    """

    buffers = ("momentum_buffer",)
    foreign = ("velocity", "square_avg", "exp_avg", "sum")
    fixed = {"dampening": 0, "nesterov": True}  # noqa: RUF012

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
        v += g
        p -= lr * (g + momentum * v)
