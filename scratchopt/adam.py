"""Adam: momentum, and a step size for each parameter."""

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from scratchopt.engine.update import Rule
from scratchopt.optimizer import Optimizer, Params, StepOptions


def update_moments(g, m, v, betas):
    """Averages the gradient and its square; their first steps are still biased to zero."""
    m += (1 - betas[0]) * (g - m)  # β₁·m + (1 − β₁)·g, rounded as torch rounds it
    v *= betas[1]
    v += (1 - betas[1]) * g * g


def _move(p, m, v, t, lr, betas, eps):
    root = v.sqrt() / (1 - betas[1] ** t) ** 0.5  # √(v/(1 − β₂ᵗ))
    p -= lr / (1 - betas[0] ** t) * m / (root + eps)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), and AMSGrad (Reddi, Kale and Kumar, 2018).

    m ← β₁·m + (1 − β₁)·g
    v ← β₂·v + (1 − β₂)·g²
    θ ← θ − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps),      with g = ∇f(θ), element by element.

    AMSGrad divides by the largest v so far. On a quadratic of preconditioned curvature λ, that is
    divided by √v, it converges for lr·λ < (2 + 2β₁)/(1 − β₁).

    Reference: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv
    1412.6980; Reddi, Kale and Kumar, "On the convergence of Adam and beyond", ICLR 2018, arXiv
    1904.09237.
    """

    buffers = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    @staticmethod
    def rule(p, g, m, v, *, t, lr, betas, eps):
        update_moments(g, m, v, betas)
        _move(p, m, v, t, lr, betas, eps)

    @staticmethod
    def amsgrad_rule(p, g, m, v, n, *, t, lr, betas, eps):
        update_moments(g, m, v, betas)
        n.clamp_min_(v)
        _move(p, m, n, t, lr, betas, eps)

    @classmethod
    def rule_for(cls, group: dict[str, Any]) -> tuple[Rule, tuple[str, ...]]:
        """Adam's rule, or AMSGrad's."""
        if group["amsgrad"]:
            return cls.amsgrad_rule, cls.buffers
        return cls.rule, cls.buffers[:2]

    torch_twin = "Adam"
    # With a great eps, and lr·eps in place of lr, the division by the root goes; β₁ = 0
    includes = ("sgd", "momentum", "rmsprop")
    includes_by = ("eps", "betas")

    @staticmethod
    def stability_limit(*, betas, lr=0.0, weight_decay=0.0, decoupled_weight_decay=False):
        """The largest stable lr·λ, where λ is the curvature divided by √v + eps, v constant.

        Cohen et al. (2022), arXiv 2207.14484: Adam is then the heavy ball with μ = β₁ and
        lr·(1 − β₁). A decoupled weight decay makes θ (1 − decay)·θ before the step, with
        decay = lr·weight_decay, and leaves 1 − decay/2 of it.
        """
        decay = lr * weight_decay if decoupled_weight_decay else 0.0
        return (2 + 2 * betas[0]) / (1 - betas[0]) * (1 - decay / 2)

    @staticmethod
    def preconditioner(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """P = (1 − β₁ᵗ)·(√(v/(1 − β₂ᵗ)) + eps), with m's correction in P."""
        t, (beta1, beta2) = state["step"], group["betas"]
        v = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        return (1 - beta1**t) * ((v / (1 - beta2**t)).sqrt() + group["eps"])

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        capturable: bool = False,
        cautious: bool = False,
        decoupled_weight_decay: bool = False,
        **options: Unpack[StepOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is torch's, and more.

        State: `step`, t; `exp_avg`, m; `exp_avg_sq`, v; `max_exp_avg_sq` with AMSGrad; of the
        parameter's shape and dtype.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            betas: memories of the mean gradient and the mean square, β₁ and β₂, each in [0, 1).
            eps: keeps off a division by zero; >= 0.
            weight_decay: L2 penalty, added to the gradient as weight_decay·θ; >= 0.
            amsgrad: the AMSGrad variant.
            capturable: for CUDA graphs.
            cautious: move only where the step descends by the gradient of now; see `Optimizer`.
            decoupled_weight_decay: θ ← (1 − lr·weight_decay)·θ before the step, in place of the
                penalty, as in `AdamW`.
            options: others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = Adam([x], lr=0.25)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> round(x.item(), 6)  # the first step is lr in each direction
        0.75
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "eps": eps,
                "amsgrad": amsgrad,
                "capturable": capturable,
                "cautious": cautious,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
            weight_decay=weight_decay,
            **options,
        )
