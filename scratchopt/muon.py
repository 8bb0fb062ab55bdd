"""Muon: the step of a matrix is its momentum, orthogonalized."""

from math import sqrt
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from typing_extensions import Unpack

from scratchopt.adamw import AdamW
from scratchopt.engine.update import Rule
from scratchopt.matrix_method import MatrixMethod, MatrixOptions
from scratchopt.optimizer import Params
from scratchopt.ranges import Range

AdjustLr: TypeAlias = Literal["original", "match_rms_adamw"] | None


def orthogonalize(
    m: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """Makes the singular values of a matrix about 1, by Newton and Schulz's iteration.

    X ← m/max(‖m‖, eps), with Frobenius' norm
    X ← a·X + (b·S + c·S²)·X, with S = XXᵀ,      as often as `steps` says.

    For m = U·diag(σ)·Vᵀ that is U·diag(q(…q(σ/‖m‖)))·Vᵀ with q(σ) = aσ + bσ³ + cσ⁵. With Muon's
    coefficients it does not converge to 1 and comes to between 0.7 and 1.2 fast.

    It works in float64 for a matrix in float64, and otherwise in bfloat16, as torch's does for all.

    Args:
        m: a tensor of two dimensions or more, taken as the matrix (out, rest).
        coefficients: a, b and c.
        steps: of the iteration.
        eps: keeps off a division by zero.

    Returns:
        A tensor of m's shape.
    """
    a, b, c = coefficients
    x = m.flatten(1) if m.dtype == torch.float64 else m.flatten(1).bfloat16()
    is_tall = x.shape[0] > x.shape[1]
    x = x.mT if is_tall else x  # XXᵀ is the smaller of the two products
    x = x / torch.linalg.vector_norm(x).clamp(min=eps)
    for _ in range(steps):
        s = x @ x.mT
        x = torch.addmm(x, torch.addmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).reshape(m.shape)


def scale(p: Tensor, adjust_lr_fn: str | None) -> float:
    """The factor on lr that fits a matrix: of Jordan et al. (2024), or of Liu et al. (2025)."""
    rows, columns = p.flatten(1).shape
    if adjust_lr_fn == "match_rms_adamw":  # its step is then as large as AdamW's usually are
        return 0.2 * sqrt(max(rows, columns))
    return sqrt(max(1, rows / max(1, columns)))


def _move(p, o, lr, weight_decay, adjust_lr_fn):
    p *= 1 - lr * weight_decay
    lr = lr * scale(p, adjust_lr_fn)
    if isinstance(lr, Tensor):  # for autograd
        p -= lr * o.to(p.dtype)
    else:
        p.add_(o, alpha=-lr)  # p − lr·O, rounded once as torch rounds it


class Muon(MatrixMethod):
    """Muon (Jordan et al., 2024): MomentUm Orthogonalized by Newton and Schulz. AdamW for the rest.

    B ← μ·B + (1 − μ)·G
    O ← orthogonalize((1 − μ)·G + μ·B);      without Nesterov, of B
    θ ← (1 − lr·weight_decay)·θ − lr·s·O,      with G = ∇f(θ), for each matrix θ, and μ = momentum.

    For B = U·Σ·Vᵀ, O is about U·Vᵀ, the steepest descent in the spectral norm: all directions of a
    matrix move alike. s = √max(1, rows/columns), or 0.2·√max(rows, columns) with
    adjust_lr_fn="match_rms_adamw", with which lr and weight_decay may be AdamW's.

    As in Jordan's and torch's code, and unlike their descriptions, B is a mean of gradients and no
    sum: O is the same as long as μ is. In float32 and below the steps are `torch.optim.Muon`'s to
    the last bit, but for bfloat16 without Nesterov, where torch's orthogonalization writes into B.

    A parameter of two dimensions or more is the matrix (out, rest). A group of parameters becomes
    two, its matrices and the rest, which AdamW updates. The last layer and embeddings train better
    by AdamW, too: put them into a group with "method": "adamw", which stays as it is.

    Reference: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024),
    https://kellerjordan.github.io/posts/muon/; Liu et al., "Muon is scalable for LLM training"
    (2025), arXiv 2502.16982; Bernstein and Newhouse, "Old optimizer, new norm" (2024), arXiv
    2409.20325.
    """

    name = "muon"
    buffers = ("momentum_buffer",)

    @staticmethod
    def rule(p, g, b, *, lr, weight_decay, momentum, ns_coefficients, ns_steps, eps, adjust_lr_fn):
        b.lerp_(g, 1 - momentum)
        o = orthogonalize(g.lerp(b, momentum), ns_coefficients, ns_steps, eps)
        _move(p, o, lr, weight_decay, adjust_lr_fn)

    @staticmethod
    def heavy_ball_rule(
        p, g, b, *, lr, weight_decay, momentum, ns_coefficients, ns_steps, eps, adjust_lr_fn
    ):
        b.lerp_(g, 1 - momentum)
        o = orthogonalize(b, ns_coefficients, ns_steps, eps)
        _move(p, o, lr, weight_decay, adjust_lr_fn)

    @classmethod
    def rule_for(cls, group: dict[str, Any]) -> tuple[Rule, tuple[str, ...]]:
        """The rule with Nesterov's momentum, or without."""
        return cls.rule if group["nesterov"] else cls.heavy_ball_rule, cls.buffers

    def check_group(self, group: dict[str, Any]) -> None:
        """Refuses also what the iteration and the scale of lr can't take."""
        if self.method_for(group) is not AdamW:
            if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
                raise ValueError(
                    f"Invalid adjust_lr_fn: {group['adjust_lr_fn']!r} ('original', "
                    "'match_rms_adamw' or None)"
                )
            if len(group["ns_coefficients"]) != 3:
                raise ValueError(
                    f"Invalid ns_coefficients: {group['ns_coefficients']} (three numbers)"
                )
        super().check_group(group)

    ranges = (*MatrixMethod.ranges, Range("ns_steps", 0, 100))
    torch_twin = "Muon"

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: AdjustLr = None,
        *,
        adamw_lr: float | None = None,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        **options: Unpack[MatrixOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is torch's, and more.

        State: of a matrix `momentum_buffer`, B, of its shape and dtype; of the rest AdamW's.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0, of matrices and, without adamw_lr, of the rest; a number or a
                one-element tensor.
            weight_decay: fraction of θ, in units of lr, that each step takes away; >= 0. The rest
                has it too.
            momentum: fraction of the mean gradient kept each step, μ in [0, 1).
            nesterov: whether the gradient counts once more than in B.
            ns_coefficients: a, b and c of the iteration that orthogonalizes.
            eps: keeps off a division by zero in that iteration; >= 0.
            ns_steps: how often it is repeated, 0 to 99.
            adjust_lr_fn: the scale s of a matrix, "original" (so is None) or "match_rms_adamw".
            adamw_lr: step size of the rest, which is AdamW's; None: lr.
            adamw_betas: β₁ and β₂ of the rest.
            adamw_eps: eps of the rest.
            options: others that methods of matrices have; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.

        >>> import torch
        >>> model = torch.nn.Linear(3, 2)
        >>> optimizer = Muon(model.parameters(), lr=0.02, adamw_lr=1e-3)
        >>> [(group["method"], group["lr"]) for group in optimizer.param_groups]
        [('muon', 0.02), ('adamw', 0.001)]
        >>> before = model.weight.detach().clone()
        >>> model(torch.eye(3)).square().sum().backward()
        >>> optimizer.step()
        >>> step = (before * (1 - 0.02 * 0.1) - model.weight.detach()) / 0.02
        >>> [0.6 < float(value) < 1.3 for value in torch.linalg.svdvals(step)]  # all about 1
        [True, True]
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": tuple(ns_coefficients),
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
                "adamw_lr": adamw_lr,
                "adamw_betas": tuple(adamw_betas),
                "adamw_eps": adamw_eps,
            },
            **options,
        )
