"""RAdam: Adam that waits until its denominators can be trusted."""

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from scratchopt.adam import Adam, update_moments
from scratchopt.optimizer import Optimizer, Params, StepOptions


class RAdam(Optimizer):
    """RAdam (Liu et al., 2020): rectified Adam.

    m ← β₁·m + (1 − β₁)·g
    v ← β₂·v + (1 − β₂)·g²
    ρ∞ = 2/(1 − β₂) − 1,  ρₜ = ρ∞ − 2·t·β₂ᵗ/(1 − β₂ᵗ)
    θ ← θ − lr · m/(1 − β₁ᵗ) · r·√(1 − β₂ᵗ)/(√v + eps)   if ρₜ > 5, where
    r = √((ρₜ − 4)·(ρₜ − 2)·ρ∞ / ((ρ∞ − 4)·(ρ∞ − 2)·ρₜ)),
    θ ← θ − lr · m/(1 − β₁ᵗ)   before, with g = ∇f(θ), element by element.

    In the first steps, 5 at β₂ = 0.999, the mean square v is of too few gradients: their step is
    momentum's. Then r, which rises to 1, warms the step size up. The paper is adaptive from ρₜ > 4
    on and has no eps; both are here as in torch.

    State: `step`, t; `exp_avg`, m; `exp_avg_sq`, v; of the parameter's shape and dtype.

    Reference: Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020,
    arXiv 1908.03265.
    """

    buffers = ("exp_avg", "exp_avg_sq")

    @staticmethod
    def numbers(*, t, lr, betas):
        first, second = 1 - betas[0] ** t, 1 - betas[1] ** t
        rho_inf = 2 / (1 - betas[1]) - 1
        rho = rho_inf - 2 * t * betas[1] ** t / second
        if rho > 5:
            r = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
            return {"adaptive": 1.0, "size": second**0.5 * (lr * r / first), "plain": 0.0}
        return {"adaptive": 0.0, "size": 1.0, "plain": lr / first}

    @staticmethod
    def rule(p, g, m, v, *, betas, eps, adaptive, size, plain):
        update_moments(g, m, v, betas)
        # size/(√v + eps), as torch rounds it, or 0, also where √v + eps is 0
        scale = adaptive / ((v.sqrt() + eps) / size + (1 - adaptive))
        p -= m * (scale + plain)

    torch_twin = "RAdam"
    # With β₂ <= 2/3 it is never adaptive; β₁ = 0
    includes = ("sgd", "momentum")
    includes_by = ("betas",)

    stability_limit = staticmethod(Adam.stability_limit)

    @staticmethod
    def preconditioner(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """P = (1 − β₁ᵗ)·(√v + eps)/(r·√(1 − β₂ᵗ)), or 1 − β₁ᵗ before it is adaptive."""
        made = RAdam.numbers(t=state["step"], lr=1.0, betas=group["betas"])
        if made["adaptive"]:
            return (state["exp_avg_sq"].sqrt() + group["eps"]) / made["size"]
        return state["exp_avg_sq"] ** 0 / made["plain"]  # ones, by what a rule may use

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
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
            decoupled_weight_decay: θ ← (1 − lr·weight_decay)·θ before the step, in place of the
                penalty, as in `AdamW`.
            capturable: for CUDA graphs.
            cautious: move only where the step descends by the gradient of now; see `Optimizer`.
            options: others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = RAdam([x], lr=0.25)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> round(x.item(), 6)  # the first step is gradient descent's
        0.5
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "eps": eps,
                "decoupled_weight_decay": decoupled_weight_decay,
                "capturable": capturable,
                "cautious": cautious,
            },
            weight_decay=weight_decay,
            **options,
        )
