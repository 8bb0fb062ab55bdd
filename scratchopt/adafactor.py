"""Adafactor: Adam's mean squares kept as means of rows and columns."""

from math import inf
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from scratchopt.optimizer import Optimizer, Params, StepOptions
from scratchopt.ranges import Range


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018), as torch has it.

    R ← β̂₂·R + (1 − β̂₂)·mean of each row of G²,    C likewise of columns,    1 − β̂₂ = t^beta2_decay
    V̂ = R·C / mean of R
    U = G/√V̂
    θ ← θ − α·U / max(1, RMS(U)/d),      with α = max(ε₂, RMS(θ))·min(lr, 1/√t), G = ∇f(θ).

    A tensor of more dimensions is one of many matrices, of its last two. One of fewer keeps the
    mean of G² itself in place of V̂. RMS(θ) is the root of the mean of its squares: a step is
    relative to the size of its parameter. The mean of R and √V̂ are at least ε₁, where the paper
    adds ε₁ to G². Weight decay is decoupled: θ is (1 − lr·weight_decay)·θ before the step.

    State: `step`, t; `row_var`, R, of the shape (…, r, 1), and `col_var`, C, of (…, 1, c), for a
    parameter of the shape (…, r, c): r + c numbers in place of r·c; `variance`, of the parameter's
    shape, where it has fewer than two dimensions.

    Reference: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost",
    ICML 2018, arXiv 1804.04235, algorithms 4 to 6.
    """

    shape = "tensor"
    buffers = ("row_var", "col_var", "variance")

    @staticmethod
    def rule(p, g, r, c, v, *, t, lr, beta2_decay, eps, d, weight_decay):
        least = torch.finfo(p.dtype).eps if eps[0] is None else eps[0]
        alpha = max(eps[1], _rms(p)) * min(lr, 1 / t**0.5)
        p *= 1 - lr * weight_decay
        if p.dim() > 1:
            r.lerp_(_mean_square(g, -1), t**beta2_decay)
            c.lerp_(_mean_square(g, -2), t**beta2_decay)
            v = (r @ c).div_(r.mean(-2, keepdim=True).clamp(min=least))
        else:
            v = v.lerp_(g * g, t**beta2_decay).clone()
        u = v.clamp_(min=least * least).rsqrt_().mul_(g)
        p.sub_(u, alpha=alpha / max(1.0, _rms(u, d)))

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor | None:
        """Zeros of the shape that a key's mean has, if p has such a mean."""
        if (key == "variance") is (p.dim() > 1):
            return None
        if key == "row_var":
            return p.new_zeros((*p.shape[:-1], 1))
        if key == "col_var":
            return p.new_zeros((*p.shape[:-2], 1, p.shape[-1]))
        return super().first_value(key, p, group)

    ranges = (
        Range("beta2_decay", -inf, 0, closed=True),
        Range("eps", 0, label="epsilon value", numbers=2, optional=True),
        Range("d", 1),
    )
    torch_twin = "Adafactor"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        **options: Unpack[StepOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is torch's, and more.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: largest relative step, that of t up to 1/lr², lr >= 0; a number or a one-element
                tensor. The paper has 10⁻².
            beta2_decay: β̂₂ is 1 − t^beta2_decay, and goes from 0 to 1; <= 0.
            eps: ε₁, the least √V̂, or None for the dtype's spacing at 1; and ε₂, the least size of
                a parameter, so that one of zeros moves; both >= 0.
            d: largest root mean square of U, d >= 1.
            weight_decay: θ ← (1 − lr·weight_decay)·θ before the step; >= 0.
            options: others that every method has; see `Optimizer`. Not among them are fused,
                foreach=True and differentiable, as the rule needs the norms of whole tensors.

        Raises:
            ValueError: a value out of its range.
            RuntimeError: an option that it can't have.

        >>> x = torch.nn.Parameter(torch.tensor([[1.0, 1.0]]))
        >>> optimizer = Adafactor([x], lr=0.25)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x.tolist()  # the first step is lr·RMS(x) in each direction
        [[0.75, 0.75]]
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": tuple(eps) if isinstance(eps, list) else eps,
                "d": d,
            },
            weight_decay=weight_decay,
            **options,
        )


def _rms(x: Tensor, unit: float = 1.0) -> float:
    """The root of the mean of the squares, in a unit; rounded as torch rounds it."""
    return torch.linalg.vector_norm(x).item() / (x.numel() ** 0.5 * unit)


def _mean_square(g, dim):
    return torch.linalg.vector_norm(g, dim=dim, keepdim=True).square_().div_(g.shape[dim])
