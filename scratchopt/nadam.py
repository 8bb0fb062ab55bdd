"""NAdam: Adam with Nesterov's momentum."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from scratchopt.adam import update_moments
from scratchopt.optimizer import Optimizer, Params, StepOptions
from scratchopt.ranges import Range


class NAdam(Optimizer):
    """NAdam (Dozat, 2016).

    μₜ = β₁·(1 − 0.96^(t·ψ)/2),  Πₜ = μ₁·…·μₜ,  with ψ = momentum_decay
    m ← β₁·m + (1 − β₁)·g
    v ← β₂·v + (1 − β₂)·g²
    θ ← θ − lr · ((1 − μₜ)·g/(1 − Πₜ) + μₜ₊₁·m/(1 − Πₜ₊₁)) / (√(v/(1 − β₂ᵗ)) + eps),
    with g = ∇f(θ), element by element.

    The momentum μₜ rises from about β₁/2 to β₁, the slower the less ψ; at ψ = 0 it stays at β₁/2.
    Dozat averages with μₜ; here, as in torch and Keras, m is Adam's.

    State: `step`, t; `mu_product`, Πₜ, of single precision as in torch; `exp_avg`, m; `exp_avg_sq`,
    v; these two of the parameter's shape and dtype.

    Reference: Dozat, "Incorporating Nesterov momentum into Adam", ICLR Workshop 2016.
    """

    buffers = ("exp_avg", "exp_avg_sq")
    kept_numbers = ("mu_product",)

    @staticmethod
    def numbers(*, t, betas, momentum_decay, mu_product):
        mu = betas[0] * (1 - 0.5 * 0.96 ** (t * momentum_decay))
        next_mu = betas[0] * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
        return {"mu": mu, "next_mu": next_mu, "mu_product": mu_product * mu}

    @staticmethod
    def rule(p, g, m, v, *, t, lr, betas, eps, mu, next_mu, mu_product):
        update_moments(g, m, v, betas)
        root = v.sqrt() / (1 - betas[1] ** t) ** 0.5 + eps
        p -= lr * (1 - mu) / (1 - mu_product) * g / root
        p -= lr * next_mu / (1 - mu_product * next_mu) * m / root

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor | None:
        """The value that a buffer of p starts with; the product of no momenta is 1."""
        if key == "mu_product":
            return torch.tensor(1.0, dtype=torch.float32)
        return super().first_value(key, p, group)

    ranges = (Range("momentum_decay", 0),)
    torch_twin = "NAdam"
    # With a great eps, and lr·eps in place of lr, the division by the root goes; with a great ψ
    # μ = β₁; β₁ = 0
    includes = ("sgd", "nag_torch", "rmsprop")
    includes_by = ("eps", "betas", "momentum_decay")

    @staticmethod
    def stability_limit(
        *, t, betas, momentum_decay, lr=0.0, weight_decay=0.0, decoupled_weight_decay=False
    ):
        """The largest stable lr·λ, where λ is the curvature divided by √v + eps, v constant.

        The step is then lr·((1 − μ)·g + μ·m), with μ = μₜ, which moves slowly. At the limit θ
        alternates, and m is (1 − β₁)/(1 + β₁)·g: 2 = lr·λ·(1 − μ + μ·(1 − β₁)/(1 + β₁)).
        """
        mu = betas[0] * (1 - 0.5 * 0.96 ** (t * momentum_decay))
        decay = lr * weight_decay if decoupled_weight_decay else 0.0
        return (2 - decay) / (1 - mu + mu * (1 - betas[0]) / (1 + betas[0]))

    @staticmethod
    def preconditioner(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """P = √(v/(1 − β₂ᵗ)) + eps, once the product of momenta is small."""
        v, t = state["exp_avg_sq"], state["step"]
        return (v / (1 - group["betas"][1] ** t)).sqrt() + group["eps"]

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        capturable: bool = False,
        cautious: bool = False,
        **options: Unpack[StepOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is torch's, and more.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0; a number or a one-element tensor.
            betas: memories of the mean gradient and the mean square, β₁ and β₂, each in [0, 1).
            eps: keeps off a division by zero; >= 0.
            weight_decay: L2 penalty, added to the gradient as weight_decay·θ; >= 0.
            momentum_decay: how fast the momentum rises, ψ >= 0.
            decoupled_weight_decay: θ ← (1 − lr·weight_decay)·θ before the step, in place of the
                penalty, as in `AdamW`.
            capturable: for CUDA graphs.
            cautious: move only where the step descends by the gradient of now; see `Optimizer`.
            options: others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = NAdam([x], lr=0.25)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> round(x.item(), 6)  # lr·(1 + μ₂·(1 − β₁)/(1 − μ₁·μ₂)) in each direction
        0.735887
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "eps": eps,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "capturable": capturable,
                "cautious": cautious,
            },
            weight_decay=weight_decay,
            **options,
        )
