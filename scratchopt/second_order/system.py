"""Newton's linear system, (C + damping)d = b, and its solutions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from scratchopt.engine.update import as_number
from scratchopt.second_order.conjugate_gradients import conjugate_gradients
from scratchopt.second_order.curvature import Product
from scratchopt.second_order.flat import flatten

# Parameters that have a gradient, each with its group.
Moved: TypeAlias = list[tuple[dict[str, Any], Tensor]]


class Singular(RuntimeError):
    """A system without a finite solution."""


class System(NamedTuple):
    """The curvature C of what is minimized, by its products or whole, and its gradient b."""

    product: Product
    matrix: Tensor | None  # (n, n)
    damping: Tensor  # (n,), of the diagonal
    b: Tensor  # (n,)

    def solve(self, solver: str, iterations: int, tolerance: float) -> tuple[Tensor, int]:
        """The direction d, and the number of products that it took.

        Raises:
            Singular: a matrix that is, or that is not finite.
        """
        if self.matrix is None:
            found = conjugate_gradients(
                lambda v: self.product(v) + self.damping * v, self.b, iterations, tolerance
            )
            return _finite(found.x), found.products
        whole = _absolute(self.matrix) if solver == "saddle_free" else self.matrix
        direction, failed = torch.linalg.solve_ex(whole + torch.diag(self.damping), self.b)
        return _finite(direction, bool(failed.item())), 0


def make_system(
    moved: Moved,
    parameters: Sequence[Tensor],
    matrix: Tensor | None,
    products: Sequence[Product],
    average: Callable[[Tensor], Tensor],
) -> System:
    """Makes the system of f, or −f where it is maximized, with the penalty of weight_decay.

    Args:
        moved: the parameters of the system.
        parameters: those that the curvature is of, in its order.
        matrix: the curvature, the mean over processes; or
        products: its parts, whose sum is averaged when multiplied.
        average: takes a tensor to its mean over processes.

    Raises:
        RuntimeError: groups that differ in maximize, where the system must be symmetric, or the
            loss fall.
    """
    signs = spread(moved, lambda group: -1 if group["maximize"] else 1)
    group = moved[0][0]
    tried = group["adapt_damping"] or group["line_search"]
    if len(signs.unique()) > 1 and (group["solver"] != "dense" or tried):
        raise RuntimeError('maximize in some groups alone needs solver="dense", and no trials')
    decay = spread(moved, lambda group: group["weight_decay"])
    damping = spread(moved, lambda group: as_number(group["damping"]))
    grads: Any = [p.grad for _, p in moved]
    b = signs * flatten(grads) + decay * flatten(p for _, p in moved)
    rows = flatten(torch.full_like(p, p.grad is not None, dtype=torch.bool) for p in parameters)
    if matrix is not None:
        matrix = signs[:, None] * matrix[rows][:, rows] + torch.diag(decay)
        return System(matrix.__matmul__, matrix, damping, b)

    def product(v: Tensor) -> Tensor:
        whole = torch.zeros_like(rows, dtype=v.dtype).masked_scatter_(rows, v)
        added = torch.stack([each(whole) for each in products]).sum(0)
        return signs * average(added)[rows] + decay * v

    return System(product, None, damping, b)


def spread(moved: Moved, value: Callable[[dict[str, Any]], float]) -> Tensor:
    """Repeats a number of each group for every number of its parameters, shape (n,)."""
    return flatten(torch.full_like(p, value(group)) for group, p in moved)


def _absolute(matrix: Tensor) -> Tensor:
    """|C|: the eigenvectors of a symmetric C with the absolute values of its eigenvalues."""
    if not matrix.isfinite().all():
        return matrix
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.abs()) @ vectors.T


def _finite(direction: Tensor, failed: bool = False) -> Tensor:
    if failed or not direction.isfinite().all():
        raise Singular("Newton's curvature is singular or not finite here")
    return direction
