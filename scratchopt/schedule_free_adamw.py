"""Schedule-Free AdamW: an average of AdamW's iterates in the place of a schedule of lr."""

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from scratchopt.engine.update import Rule
from scratchopt.optimizer import Optimizer, Params, StepOptions
from scratchopt.schedule_free_sgd import ScheduleFreeSGD


class ScheduleFreeAdamW(ScheduleFreeSGD):
    """Schedule-Free AdamW (Defazio et al., 2024).

    y = (1 − β₁)·z + β₁·x
    v ← β₂·v + (1 − β₂)·g²,      with g = ∇f(y), element by element,
    z ← z − γ·(g/(√(v/(1 − β₂ᵗ)) + eps) + weight_decay·y)
    x ← (1 − c)·x + c·z

    The rest is as in `ScheduleFreeSGD`: the parameters hold x, and β₁ takes the place of its β.
    There is no m. On a quadratic of preconditioned curvature λ, that is divided by √v, x
    converges for lr·(λ + weight_decay) < 2/(1 − β₁).

    Reference: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, "The road less scheduled",
    NeurIPS 2024, arXiv 2405.15682, algorithm 1; the correction 1 − β₂ᵗ is under the root as in the
    authors' package `schedulefree`.
    """

    buffers = ("z", "exp_avg_sq")

    @staticmethod
    def gradient_point(p, z, v, *, betas):  # type: ignore[override]
        p += (1 - betas[0]) * (z - p)  # ∇f is taken at y

    @staticmethod
    def rule(p, g, z, v, *, t, gamma, c, betas, eps):  # type: ignore[override]
        v *= betas[1]
        v += (1 - betas[1]) * g * g
        z -= gamma * g / ((v / (1 - betas[1] ** t)).sqrt() + eps)
        p += c * (z - p)  # x ← (1 − c)·x + c·z

    @staticmethod
    def decayed_rule(p, g, z, v, *, t, gamma, c, betas, eps, weight_decay):
        y = (1 - betas[0]) * z + betas[0] * p
        z -= gamma * weight_decay * y
        ScheduleFreeAdamW.rule(p, g, z, v, t=t, gamma=gamma, c=c, betas=betas, eps=eps)

    @classmethod
    def rule_for(cls, group: dict[str, Any]) -> tuple[Rule, tuple[str, ...]]:
        """The rule of a group, with a decay or without."""
        return cls.decayed_rule if group["weight_decay"] != 0 else cls.rule, cls.buffers

    @staticmethod
    def stability_limit(*, betas, lr, weight_decay):  # type: ignore[override]
        """The largest stable lr·λ as t → ∞, where λ is the curvature divided by √v + eps."""
        return 2 / (1 - betas[0]) - lr * weight_decay

    @staticmethod
    def preconditioner(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """P = √(v/(1 − β₂ᵗ)) + eps."""
        correction = 1 - group["betas"][1] ** state["step"]
        return (state["exp_avg_sq"] / correction).sqrt() + group["eps"]

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.0025,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **options: Unpack[StepOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is the authors' package's.

        It has neither their `train()` nor their `eval()`; see `ScheduleFreeSGD`.

        State: `step`, t; `z`; `exp_avg_sq`, v; of the parameter's shape and dtype; `weight_sum`
        and `lr_max`. Besides, from the second step on, the memory of a copy of x.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size γ after the warm-up, lr >= 0; a number or a one-element tensor. Constant:
                a schedule is not needed.
            betas: β₁, of y, and the memory of the mean square, β₂, each in [0, 1).
            eps: keeps off a division by zero; >= 0.
            weight_decay: fraction of y, in units of γ, that each step takes from z; >= 0.
            warmup_steps: steps in which γ rises linearly to lr, >= 0.
            r: power of t in the weights, >= 0.
            weight_lr_power: power of γ in the weights, >= 0.
            options: others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = ScheduleFreeAdamW([x], lr=0.25)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> round(x.item(), 6)  # the first step is lr in each direction
        0.75
        """
        Optimizer.__init__(
            self,
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "eps": eps,
                "warmup_steps": warmup_steps,
                "r": r,
                "weight_lr_power": weight_lr_power,
                "decoupled_weight_decay": True,
            },
            weight_decay=weight_decay,
            **options,
        )
