"""The largest or smallest eigenvalue of a symmetric operator, from its products with vectors."""

from collections.abc import Callable
from math import inf, isfinite, nan
from typing import NamedTuple

import torch
from torch import Tensor


class Ritz(NamedTuple):
    """An approximate eigenvalue, and how good it is."""

    value: float  # θ
    vector: Tensor  # y, of norm 1, shape (n,)
    residual: float  # ‖Ay − θy‖: an eigenvalue of A is at most so far from θ
    products: int  # spent


def lanczos(
    product: Callable[[Tensor], Tensor],
    size: int,
    *,
    largest: bool = True,
    iterations: int = 100,
    tol: float = 1e-3,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Ritz:
    """Finds an extreme eigenvalue by Lanczos (1950), each new vector orthogonalized against all.

    k products give an orthonormal basis Q of the Krylov space of a random start vector, and
    T = QᵀAQ, tridiagonal of order k. T's largest eigenvalue θ is at most A's, and with its
    eigenvector s the residual is ‖AQs − θQs‖ = β_k·|s_k|, known without another product. It ends
    where that is at most tol·|θ|, where the space is invariant (β_k is rounding), or after
    `iterations` products. The memory is that of one vector a product.

    The start vector comes of a generator of its own: no random stream is touched, and the same
    operator has the same result.

    Args:
        product: v ↦ Av, of shape (n,), with A symmetric.
        size: n >= 1.
        largest: or the smallest; both by value, not modulus.
        iterations: products at most, >= 1.
        tol: of the residual, as a part of |θ|; >= 0.
        seed: of the start vector.
        dtype: of the vectors.
        device: of the vectors.

    Returns:
        The Ritz pair; NaN, with an infinite residual, where a product is not finite.

    Raises:
        ValueError: a value out of its range.

    Reference: Parlett, "The symmetric eigenvalue problem" (SIAM 1998), chapter 13; Golub and Van
    Loan, "Matrix computations", the chapter on Lanczos methods.

    >>> a = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> round(lanczos(lambda v: a @ v, 2).value, 5)
    3.0
    """
    for name, value, least in (("size", size, 1), ("iterations", iterations, 1), ("tol", tol, 0)):
        if not value >= least:
            raise ValueError(f"Invalid {name}: {value} ({name} >= {least})")
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(size, generator=generator, dtype=torch.float64)
    q = (start / start.norm()).to(device, dtype)
    basis: list[Tensor] = []
    diagonal: list[float] = []
    beside: list[float] = []  # β₁ … β_{k−1}
    while True:
        basis.append(q)
        w = product(q).to(dtype, copy=True)
        diagonal.append((q @ w).item())
        for _ in range(2):  # once leaves rounding behind, twice is enough (Parlett, 6.9)
            for b in basis:
                w -= (b @ w) * b
        beta = w.norm().item()
        if not (isfinite(diagonal[-1]) and isfinite(beta)):
            return Ritz(nan, torch.full_like(q, nan), inf, len(basis))
        value, s = _outermost(diagonal, beside, largest)
        residual = beta * abs(s[-1].item())
        rounding = 10 * torch.finfo(dtype).eps * max(map(abs, [*diagonal, *beside]))
        ended = len(basis) == min(iterations, size)
        if ended or beta <= rounding or residual <= tol * abs(value):
            vector = torch.zeros_like(q)
            for b, weight in zip(basis, s.tolist(), strict=True):
                vector += weight * b
            return Ritz(value, vector, residual, len(basis))
        beside.append(beta)
        q = w / beta


def _outermost(diagonal: list[float], beside: list[float], largest: bool) -> tuple[float, Tensor]:
    """The largest or smallest eigenvalue of a tridiagonal matrix, and its eigenvector."""
    off = torch.tensor(beside, dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    matrix += torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(matrix)
    at = -1 if largest else 0
    return values[at].item(), vectors[:, at]
