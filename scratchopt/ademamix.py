"""AdEMAMix: Adam with a second, slow average of the gradients."""

from math import exp, log
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from scratchopt.adam import update_moments
from scratchopt.optimizer import Optimizer, Params, StepOptions
from scratchopt.ranges import Range


class AdEMAMix(Optimizer):
    """AdEMAMix (Pagliardini, Ablin and Grangier, 2024).

    m₁ ← β₁·m₁ + (1 − β₁)·g
    m₂ ← β₃·m₂ + (1 − β₃)·g
    v ← β₂·v + (1 − β₂)·g²
    θ ← θ − lr·((m₁/(1 − β₁ᵗ) + α·m₂)/(√(v/(1 − β₂ᵗ)) + eps) + weight_decay·θ),
    with g = ∇f(θ), element by element.

    The slow average m₂ remembers tens of thousands of steps. While it fills, α and β₃ may be warmed
    up: α rises from 0 to its value in a line, within alpha_warmup steps, and β₃ from β₁, such that
    the steps that m₂ remembers rise in a line, within beta3_warmup steps:

    α(t) = min(t/alpha_warmup, 1)·α
    β₃(t) = min(exp(1/((1 − a)/ln β₁ + a/ln β₃)), β₃),  with a = t/beta3_warmup

    The authors set both to the length of the run.

    State: `step`, t; `exp_avg_fast`, m₁; `exp_avg_slow`, m₂; `exp_avg_sq`, v; of the parameter's
    shape and dtype.

    Reference: Pagliardini, Ablin and Grangier, "The AdEMAMix optimizer: better, faster, older",
    ICLR 2025, arXiv 2409.03137, algorithm 1.
    """

    buffers = ("exp_avg_fast", "exp_avg_slow", "exp_avg_sq")

    @staticmethod
    def numbers(*, t, betas, alpha, alpha_warmup, beta3_warmup):
        beta3 = betas[2]
        if beta3_warmup is not None and t < beta3_warmup:
            beta3 = _interpolate(betas[0], betas[2], t / beta3_warmup)
        if alpha_warmup is not None and t < alpha_warmup:
            alpha = alpha * t / alpha_warmup
        return {"alpha": alpha, "beta3": beta3}

    @staticmethod
    def rule(p, g, m1, m2, v, *, t, lr, betas, eps, alpha, beta3):
        update_moments(g, m1, v, betas)
        m2 += (1 - beta3) * (g - m2)
        root = v.sqrt() / (1 - betas[1] ** t) ** 0.5 + eps
        p -= lr * (m1 / (1 - betas[0] ** t) + alpha * m2) / root

    ranges = (
        Range("betas", 0, 1, "beta parameter", numbers=3),
        Range("alpha", 0),
        Range("alpha_warmup", 1, optional=True),
        Range("beta3_warmup", 1, optional=True),
    )
    includes = ("adamw",)
    includes_by = ("alpha", "betas", "eps", "weight_decay")  # α = 0

    @staticmethod
    def stability_limit(*, t, betas, alpha, alpha_warmup, beta3_warmup, lr=0.0, weight_decay=0.0):
        """The largest stable lr·λ, where λ is the curvature divided by √v + eps, v constant.

        At the limit θ alternates, and an average of the gradients is (1 − β)/(1 + β) of them:
        2 = lr·λ·((1 − β₁)/(1 + β₁) + α·(1 − β₃)/(1 + β₃)).
        """
        made = AdEMAMix.numbers(
            t=t, betas=betas, alpha=alpha, alpha_warmup=alpha_warmup, beta3_warmup=beta3_warmup
        )
        fast, slow = ((1 - beta) / (1 + beta) for beta in (betas[0], made["beta3"]))
        return (2 - lr * weight_decay) / (fast + made["alpha"] * slow)

    @staticmethod
    def preconditioner(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """P = √(v/(1 − β₂ᵗ)) + eps, once m₁ needs no correction."""
        v, t = state["exp_avg_sq"], state["step"]
        return (v / (1 - group["betas"][1] ** t)).sqrt() + group["eps"]

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor, float | Tensor] = (0.9, 0.999, 0.9999),
        alpha: float = 2.0,
        beta3_warmup: int | None = None,
        alpha_warmup: int | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        cautious: bool = False,
        **options: Unpack[StepOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is the authors', and more.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            betas: memories of the fast mean gradient, the mean square and the slow mean gradient,
                β₁, β₂ and β₃, each in [0, 1).
            alpha: weight of the slow mean gradient in the step, α >= 0.
            beta3_warmup: steps within which β₃ rises from β₁ to its value; None, it does not.
            alpha_warmup: steps within which α rises from 0 to its value; None, it does not.
            eps: keeps off a division by zero; >= 0.
            weight_decay: fraction of θ, in units of lr, that each step takes away; >= 0.
            cautious: move only where the step descends by the gradient of now; see `Optimizer`.
            options: others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = AdEMAMix([x], lr=0.25)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> round(x.item(), 6)  # the first step is lr·(1 + α·(1 − β₃)) in each direction
        0.74995
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "alpha": alpha,
                "beta3_warmup": beta3_warmup,
                "alpha_warmup": alpha_warmup,
                "eps": eps,
                "decoupled_weight_decay": True,
                "cautious": cautious,
            },
            weight_decay=weight_decay,
            **options,
        )


def _interpolate(start: float, end: float, share: float) -> float:
    """The memory between two whose length, 1/ln β, lies at a share of the way."""
    length = sum(part / log(beta) for part, beta in ((1 - share, start), (share, end)) if beta)
    return min(exp(1 / length), end) if length else 0.0
