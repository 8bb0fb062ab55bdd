"""RMSprop: gradients divided by the root of their recent mean square."""

from typing import Any

from torch import Tensor

from scratchopt.engine.update import Rule
from scratchopt.optimizer import Optimizer, Params
from scratchopt.ranges import Range


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012), with Graves's (2013) centred and momentum variants.

    v ← α·v + (1 − α)·g²
    θ ← θ − lr·g/(√v + eps),      with g = ∇f(θ), element by element.

    Centred, the mean m ← α·m + (1 − α)·g is kept too, and √(v − m²), a standard deviation, takes
    the place of √v. With momentum μ the step goes through b ← μ·b + g/(√v + eps): θ ← θ − lr·b.

    State: `step`, t; `square_avg`, v; `grad_avg`, m, if centred; `momentum_buffer`, b, if μ > 0; of
    the parameter's shape and dtype.

    Reference: Hinton, "Neural networks for machine learning", lecture 6e (2012); Graves,
    "Generating sequences with recurrent neural networks", arXiv 1308.0850 (2013), (38) to (41).
    """

    buffers = ("square_avg", "grad_avg", "momentum_buffer")

    @staticmethod
    def rule(p, g, v, *, t, lr, alpha, eps):
        p -= lr * g / (_root_mean_square(g, v, alpha) + eps)

    @staticmethod
    def momentum_rule(p, g, v, b, *, t, lr, alpha, eps, momentum):
        b *= momentum
        b += g / (_root_mean_square(g, v, alpha) + eps)
        p -= lr * b

    @staticmethod
    def centered_rule(p, g, v, m, *, t, lr, alpha, eps):
        p -= lr * g / (_standard_deviation(g, v, m, alpha) + eps)

    @staticmethod
    def centered_momentum_rule(p, g, v, m, b, *, t, lr, alpha, eps, momentum):
        b *= momentum
        b += g / (_standard_deviation(g, v, m, alpha) + eps)
        p -= lr * b

    @classmethod
    def rule_for(cls, group: dict[str, Any]) -> tuple[Rule, tuple[str, ...]]:
        """The rule of a group, one of four, and the keys of its buffers."""
        if group["centered"]:
            if group["momentum"] > 0:
                return cls.centered_momentum_rule, ("square_avg", "grad_avg", "momentum_buffer")
            return cls.centered_rule, ("square_avg", "grad_avg")
        if group["momentum"] > 0:
            return cls.momentum_rule, ("square_avg", "momentum_buffer")
        return cls.rule, ("square_avg",)

    ranges = (Range("alpha", 0),)
    torch_twin = "RMSprop"
    # With a great eps, and lr·eps in place of lr, the division by the root goes; μ = 0
    includes = ("sgd",)
    includes_by = ("eps", "momentum")

    @staticmethod
    def stability_limit(*, momentum):
        return 2 * (1 + momentum)

    @staticmethod
    def preconditioner(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """P = √v + eps, or with the standard deviation in place of √v."""
        v = state["square_avg"]
        if group["centered"]:
            v = v - state["grad_avg"] ** 2
        return v.sqrt() + group["eps"]

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        fused: bool | None = None,
        compensated: bool = False,
    ) -> None:
        """Creates the optimizer of some parameters; the signature is torch's, and more.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            alpha: memory of the mean square, α >= 0.
            eps: keeps off a division by zero; >= 0.
            weight_decay: L2 penalty; this and those from capturable on are options that every
                method has, see `Optimizer`.
            momentum: fraction of the buffer kept each step, μ in [0, 1); 0 keeps none.
            centered: divide by the standard deviation.
            capturable: for CUDA graphs.
            foreach: which tensors go together.
            maximize: ascends.
            differentiable: lets autograd through.
            fused: compiles the rule; torch's RMSprop has no such option.
            compensated: keeps what rounding takes.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = RMSprop([x], lr=0.05, alpha=0.96)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> round(x.item(), 6)  # the first step is lr/√(1 − α) in each direction
        0.75
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "capturable": capturable,
            },
            weight_decay=weight_decay,
            foreach=foreach,
            maximize=maximize,
            differentiable=differentiable,
            fused=fused,
            compensated=compensated,
        )


def _root_mean_square(g, v, alpha):
    v *= alpha
    v += (1 - alpha) * g * g
    return v.sqrt()


def _standard_deviation(g, v, m, alpha):
    _root_mean_square(g, v, alpha)
    m += (1 - alpha) * (g - m)
    return (v - m * m).sqrt()
