"""Schedule-Free SGD: an average of the iterates in the place of a schedule of lr."""

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from scratchopt.optimizer import Optimizer, Params, StepOptions
from scratchopt.ranges import Range


class ScheduleFreeSGD(Optimizer):
    """Schedule-Free SGD (Defazio et al., 2024).

    y = (1 − β)·z + β·x
    z ← z − γ·∇f(y)
    x ← (1 − c)·x + c·z,      with z₁ = x₁, β = momentum, γ = lr·min(1, t/warmup_steps).

    The parameters hold x, an average of the z, which is as good at any step as the last iterate of
    a training whose lr was scheduled to end there. It weighs z by w = tʳ·(the largest γ so
    far)^weight_lr_power: c = w/Σw, which is 1/t where lr is constant and r = 0. The gradient is
    taken at y. On a quadratic of curvature λ, x converges for lr·λ < 2/(1 − β).

    Reference: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, "The road less scheduled",
    NeurIPS 2024, arXiv 2405.15682, equations 3 to 5; the weights are those of the authors' package
    `schedulefree`.
    """

    buffers = ("z",)

    @staticmethod
    def gradient_point(p, z, *, momentum):
        p += (1 - momentum) * (z - p)  # ∇f is taken at y

    @staticmethod
    def rule(p, g, z, *, gamma, c):
        z -= gamma * g
        p += c * (z - p)  # x ← (1 − c)·x + c·z

    kept_numbers = ("weight_sum", "lr_max")

    @staticmethod
    def numbers(*, t, lr, warmup_steps, r, weight_lr_power, weight_sum, lr_max):
        gamma = lr * min(1, t / warmup_steps) if warmup_steps else lr
        lr_max = max(lr_max, gamma)
        weight = t**r * lr_max**weight_lr_power
        weight_sum = weight_sum + weight
        c = weight / weight_sum if weight_sum else 0.0  # at lr 0
        return {"gamma": gamma, "c": c, "weight_sum": weight_sum, "lr_max": lr_max}

    averages = True
    ranges = (Range("warmup_steps", 0), Range("r", 0), Range("weight_lr_power", 0))

    @staticmethod
    def stability_limit(*, momentum):
        """The largest stable lr·λ as t → ∞: z ← (1 − lr·λ·(1 − β))·z − lr·λ·β·x, x at rest."""
        return 2 / (1 - momentum)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **options: Unpack[StepOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is the authors' package's.

        It has neither their `train()` nor their `eval()`: between steps the parameters hold x, for
        whoever validates, saves or averages them, and `step(closure)` or `lookahead_()` moves them
        to y; see `Optimizer`.

        State: `step`, t; `z`, of the parameter's shape and dtype; `weight_sum`, Σw, and `lr_max`,
        the largest γ. Besides, from the second step on, the memory of a copy of x.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size γ after the warm-up, lr >= 0; a number or a one-element tensor. Constant:
                a schedule is not needed.
            momentum: β in [0, 1); 0 takes the gradient at z, as Polyak's averaging does.
            weight_decay: L2 penalty, its gradient weight_decay·y; >= 0.
            warmup_steps: steps in which γ rises linearly to lr, >= 0.
            r: power of t in the weights, >= 0.
            weight_lr_power: power of γ in the weights, >= 0.
            options: others that every method has; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = ScheduleFreeSGD([x], lr=0.25, momentum=0.5)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (x**2).sum()
        ...     loss.backward()
        ...     return loss
        >>> for _ in range(2):
        ...     loss = optimizer.step(closure)
        >>> x.item()  # z: 1 → 0.5 → 0.25, and x is the mean of the last two
        0.375
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "warmup_steps": warmup_steps,
                "r": r,
                "weight_lr_power": weight_lr_power,
            },
            weight_decay=weight_decay,
            **options,
        )

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor | None:
        """The value that a buffer starts with; that of z is the parameter."""
        return p.clone() if key == "z" else super().first_value(key, p, group)
