"""The curvature that an optimizer has gathered for its next step."""

from collections.abc import Callable, Sequence
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from scratchopt.second_order.curvature import Product
from scratchopt.second_order.flat import common_dtype

PRODUCT = 2  # gradient evaluations that a product with the curvature takes (Pearlmutter, 1994)


def _identity(tensor: Tensor) -> Tensor:
    return tensor


class GatheredCurvature:
    """The curvature of the losses so far: the sum of their matrices, or a product for each loss.

    An empty one is false. All that `Newton` knows between two calls lies in this one object, which
    the wrappers of Lightning and Fabric share with the optimizer.
    """

    def __init__(self) -> None:
        self.average: Callable[[Tensor], Tensor] = _identity  # over processes
        self.cost = 0.0  # of the last step, in gradient evaluations
        self.zeroed = False  # whether zero_grad was called since the closure began
        self.trying = False  # whether the closure is evaluated for its loss alone
        self.forget()

    def forget(self) -> None:
        """Forgets the curvature."""
        self.matrix: Tensor | None = None  # (n, n), n numbers in all
        self.products: list[Product] = []
        self.latest: ReferenceType[Tensor] | None = None  # the loss that was added last

    def __bool__(self) -> bool:
        """True if there is any curvature."""
        return self.matrix is not None or bool(self.products)

    def add(
        self, loss: Tensor, product: Product, parameters: Sequence[Tensor], whole: bool
    ) -> None:
        """Takes the curvature of one more loss.

        Args:
            loss: which was not added before.
            product: multiplies by it, as long as the loss has its graph.
            parameters: that it is of.
            whole: whether its matrix is wanted, for which the graph is no longer needed after this.
        """
        self.latest = ref(loss)
        if not whole:
            self.products.append(product)
            return
        size, first = sum(p.numel() for p in parameters), parameters[0]
        matrix = product(torch.eye(size, dtype=common_dtype(parameters), device=first.device))
        self.matrix = matrix if self.matrix is None else self.matrix + matrix

    def scale(self, factor: float) -> None:
        """Multiplies the curvature by a number."""
        if self.matrix is not None:
            self.matrix = self.matrix * factor
        self.products = [_scaled(product, factor) for product in self.products]

    @property
    def price(self) -> float:
        """The gradient evaluations that a product takes; a micro-batch is a part of the batch."""
        return PRODUCT if self.products else 0.0


def _scaled(product: Product, factor: float) -> Product:
    return lambda vectors: product(vectors) * factor
