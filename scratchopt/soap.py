"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from math import nan, prod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from scratchopt.adamw import AdamW
from scratchopt.matrix_method import MatrixMethod, MatrixOptions
from scratchopt.optimizer import Params
from scratchopt.ranges import Range


def rotate(x: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """leftᵀ·X·right, of X as the matrix (out, rest); None leaves its side alone."""
    y = x.flatten(1)
    if left is not None:
        y = left.mT @ y.to(left.dtype)
    if right is not None:
        y = y.to(right.dtype) @ right
    return y.to(x.dtype).view(x.shape)


def rotate_back(x: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """left·X·rightᵀ, what `rotate` undoes where both are orthogonal."""
    return rotate(x, None if left is None else left.mT, None if right is None else right.mT)


def eigenvectors(factor: Tensor) -> Tensor:
    """The eigenvectors of a symmetric matrix, as columns; that of the largest eigenvalue first.

    Of a matrix that is not finite they are NaN, as then is the step: LAPACK would not converge.
    """
    if not factor.isfinite().all():
        return torch.full_like(factor, nan)
    return torch.linalg.eigh(factor)[1].flip(1)


def _collect(g, l, r, beta):
    x = g.flatten(1)
    if l is not None:
        l.lerp_((x @ x.mT).to(l.dtype), 1 - beta)  # β·L + (1 − β)·G·Gᵀ
    if r is not None:
        r.lerp_((x.mT @ x).to(r.dtype), 1 - beta)  # β·R + (1 − β)·Gᵀ·G


def _begin(l, r, ql, qr):
    """Makes the first basis: the eigenvectors of both factors."""
    if l is not None:
        ql.copy_(eigenvectors(l))
    if r is not None:
        qr.copy_(eigenvectors(r))


def _turn(m, v, l, r, ql, qr):
    """Turns the basis by a step of power iteration, and m, from its old to its new axes."""
    if ql is None and qr is None:
        return
    straight = rotate_back(m, ql, qr)
    squares = v.flatten(1)
    if ql is not None:
        squares = squares[_iterate(l, ql)]
    if qr is not None:
        squares = squares[:, _iterate(r, qr)]
    m.copy_(rotate(straight, ql, qr))
    v.copy_(squares.view(v.shape))


def _iterate(factor: Tensor, basis: Tensor) -> Tensor:
    """A step of power iteration, in place; the order in which the old axes have become the new."""
    image = factor @ basis
    order = (basis * image).sum(0).argsort(descending=True)  # by Rayleigh's quotients
    basis.copy_(torch.linalg.qr(image[:, order])[0])
    return order


class SOAP(MatrixMethod):
    """SOAP (Vyas et al., 2024): ShampoO with Adam in the Preconditioner's eigenbasis.

    G′ = Q_Lᵀ·G·Q_R,      with G = ∇f(θ), for each matrix θ
    M ← β₁·M + (1 − β₁)·G′
    V ← β₂·V + (1 − β₂)·G′²
    N = Q_L · (√(1 − β₂ᵗ)/(1 − β₁ᵗ) · M/(√V + eps)) · Q_Rᵀ
    θ ← (1 − lr·weight_decay)·(θ − lr·N)
    L ← β·L + (1 − β)·G·Gᵀ,      R ← β·R + (1 − β)·Gᵀ·G,      β = shampoo_beta, or β₂

    and, every `precondition_frequency` steps, a step of power iteration for the eigenvectors Q_L of
    L and Q_R of R, Q ← QR(L·Q), to whose new axes M and V go over.

    The first step of a matrix moves nothing: it makes L and R, and their eigenvectors, so that no
    gradient is seen in a basis that it has made; t counts the steps after it, and `step` in the
    state that one too. A side of more than `max_precond_dim` numbers keeps the basis that it has.

    Where the first gradient has a lower rank than a side, as a batch often leaves it, the
    eigenvectors of the eigenvalue 0 are any, and rounding chooses them: runs that round otherwise,
    as on another number of processes or threads, then part visibly, each as good as the other.

    A parameter of two dimensions or more is the matrix (out, rest). A group of parameters becomes
    two, its matrices and the rest, which AdamW updates; one with "method": "adamw" stays as it is,
    and is AdamW's. In the author's code a kernel has a factor for each of its dimensions instead,
    and a vector Adam's step with the betas of SOAP.

    Reference: Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson and Kakade, "SOAP:
    improving and stabilizing Shampoo using Adam", ICLR 2025, arXiv 2409.11321.
    """

    name = "soap"
    buffers = (
        "exp_avg",
        "exp_avg_sq",
        "left_factor",
        "right_factor",
        "left_basis",
        "right_basis",
    )

    @staticmethod
    def rule(
        p, g, m, v, l, r, ql, qr,
        *, t, lr, betas, shampoo_beta, eps, weight_decay, precondition_frequency,
    ):  # fmt: skip
        if t > 1:
            d = rotate(g, ql, qr)
            m.lerp_(d, 1 - betas[0])
            v.mul_(betas[1]).addcmul_(d, d, value=1 - betas[1])
            lr_t = lr * (1 - betas[1] ** (t - 1)) ** 0.5 / (1 - betas[0] ** (t - 1))
            p -= lr_t * rotate_back(m / (v.sqrt() + eps), ql, qr)
            p *= 1 - lr * weight_decay
        _collect(g, l, r, betas[1] if shampoo_beta < 0 else shampoo_beta)
        if t == 1:
            _begin(l, r, ql, qr)
        elif (t - 1) % precondition_frequency == 0:
            _turn(m, v, l, r, ql, qr)

    def check_group(self, group: dict[str, Any]) -> None:
        """Refuses also a derivative: eigenvectors have none where eigenvalues are equal."""
        if group["differentiable"] and self.method_for(group) is not AdamW:
            raise RuntimeError(
                "SOAP does not support differentiable=True, as eigenvectors have no derivative "
                "where eigenvalues are equal, as those that are zero at first: leave it out"
            )
        super().check_group(group)

    def first_value(self, key: str, p: Tensor, group: dict[str, Any]) -> Tensor | None:
        """Zeros: of p's shape, or of a factor's, which is kept in float32 at least."""
        if key in self.buffers[:2]:
            return super().first_value(key, p, group)
        size = p.shape[0] if key.startswith("left") else prod(p.shape[1:])
        if size > group["max_precond_dim"]:
            return None
        dtype = torch.float64 if p.dtype == torch.float64 else torch.float32
        return torch.zeros(size, size, dtype=dtype, device=p.device)

    ranges = (
        *MatrixMethod.ranges,
        Range("shampoo_beta", -1, 1),
        Range("precondition_frequency", 1),
        Range("max_precond_dim", 0),
    )

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo_beta: float = -1.0,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        precondition_frequency: int = 10,
        max_precond_dim: int = 10000,
        *,
        adamw_lr: float | None = None,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        **options: Unpack[MatrixOptions],
    ) -> None:
        """Creates the optimizer of some parameters; the signature is the author's, and more.

        State: of a matrix `step`, the number of its steps; `exp_avg`, M, and `exp_avg_sq`, V, both
        in the eigenbasis, of its shape and dtype; `left_factor`, L, and `left_basis`, Q_L, (out,
        out); `right_factor`, R, and `right_basis`, Q_R, (rest, rest): of its dtype, but never below
        float32. Of the rest AdamW's.

        Args:
            params: parameters, or groups of them, as for any torch optimizer.
            lr: step size, lr >= 0, of matrices and, without adamw_lr, of the rest; a number or a
                one-element tensor.
            betas: memories of the mean gradient and the mean square, β₁ and β₂, each in [0, 1).
            shampoo_beta: memory of L and R, in [0, 1); if it is negative, β₂.
            eps: keeps off a division by zero; >= 0.
            weight_decay: fraction of θ, in units of lr, that each step takes away; >= 0. The rest
                has it too.
            precondition_frequency: steps from one turn of the basis to the next; >= 1.
            max_precond_dim: the longest side of a matrix that gets a factor; >= 0.
            adamw_lr: step size of the rest, which is AdamW's; None: lr.
            adamw_betas: β₁ and β₂ of the rest.
            adamw_eps: eps of the rest.
            options: others that methods of matrices have, but differentiable; see `Optimizer`.

        Raises:
            ValueError: a value out of its range.
            RuntimeError: differentiable=True.

        >>> import torch
        >>> w = torch.nn.Parameter(torch.eye(2))
        >>> optimizer = SOAP([w], lr=0.25, weight_decay=0.0)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (w**2).sum().backward()
        ...     optimizer.step()
        >>> w.tolist()  # the first step moves nothing, the second by lr in each direction
        [[0.75, 0.0], [0.0, 0.75]]
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "shampoo_beta": shampoo_beta,
                "eps": eps,
                "weight_decay": weight_decay,
                "precondition_frequency": precondition_frequency,
                "max_precond_dim": max_precond_dim,
                "adamw_lr": adamw_lr,
                "adamw_betas": tuple(adamw_betas),
                "adamw_eps": adamw_eps,
            },
            **options,
        )
