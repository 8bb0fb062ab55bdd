"""Linear systems by conjugate gradients, from products with the matrix alone."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Solution(NamedTuple):
    """The result of conjugate gradients."""

    x: Tensor  # (n,)
    products: int  # with the matrix
    indefinite: bool  # whether a direction of curvature <= 0 was met


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float
) -> Solution:
    """Solves Ax ≈ b for a symmetric A, from x = 0.

    Every iterate is a direction of descent of f where b = −∇f. The iteration ends at a direction p
    with pᵀAp <= 0: there A is not positive definite, and what has been found is the answer; in the
    first iteration, b itself. What is not finite is returned as such.

    Args:
        product: takes p of shape (n,) to Ap.
        b: the right-hand side, shape (n,).
        iterations: at most, >= 1; in exact arithmetic n are enough.
        tolerance: it ends when ‖Ax − b‖ <= tolerance·‖b‖.

    Reference: Hestenes and Stiefel (1952); the end at negative curvature: Steihaug (1983), and
    Nocedal and Wright, "Numerical Optimization" (2nd ed., 2006), algorithm 7.1.
    """
    x, r, p = torch.zeros_like(b), b.clone(), b.clone()
    rr = first = r @ r
    for count in range(1, iterations + 1):
        if rr == 0:
            return Solution(x, count - 1, False)
        product_p = product(p)
        curvature = p @ product_p
        if curvature.isnan():
            return Solution(product_p, count, False)
        if not curvature > 0:
            return Solution(b.clone() if count == 1 else x, count, True)
        step = rr / curvature
        x += step * p
        r -= step * product_p
        previous, rr = rr, r @ r
        if rr <= tolerance**2 * first:
            return Solution(x, count, False)
        p = r + (rr / previous) * p
    return Solution(x, iterations, False)
