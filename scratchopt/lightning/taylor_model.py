"""The quadratic model of a loss, and its curvature as an optimizer sees it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from scratchopt import stability
from scratchopt.second_order.curvature import derivative, explain_failure, flat_gradient
from scratchopt.second_order.flat import flatten


class TaylorModel:
    """q(d) = gᵀd + ½·dᵀHd: how a loss changes by a move d of the parameters, to second order.

    Vectors have shape (n,) and are at least float32. The loss's graph lives as long as this, and
    the parameters must not change in that time.

    Args:
        loss: 0-dim, with its graph.
        parameters: θ, n numbers in all.
        mean: of a tensor over the processes.
        scale: that the loss has for its derivatives, as float16 needs; they are freed from it.

    Raises:
        RuntimeError: a loss without second derivatives; at the first product, too.
    """

    def __init__(
        self,
        loss: Tensor,
        parameters: Sequence[Tensor],
        mean: Callable[[Tensor], Tensor],
        scale: float = 1.0,
    ) -> None:
        scaled = loss * scale
        with _second_derivatives():
            gradient = flat_gradient(scaled, parameters)
        self._product = derivative(gradient, parameters)
        self._mean, self._scale, self._narrow = mean, scale, gradient.dtype
        self.dtype = torch.promote_types(gradient.dtype, torch.float32)
        self.gradient = self._average(gradient.detach())

    def product(self, vector: Tensor) -> Tensor:
        """The product Hv."""
        with _second_derivatives():
            return self._average(self._product(vector.to(self._narrow)))

    def change(self, a: Tensor, b: Tensor) -> float:
        """q(b) − q(a) = (b − a)ᵀ(g + ½·H(a + b))."""
        slope = self.gradient + self.product(a + b) / 2
        return torch.dot((b - a).double(), slope.double()).item()

    def preconditioned_product(
        self, optimizer: Optimizer, groups: Sequence[stability.Group]
    ) -> Callable[[Tensor], Tensor] | None:
        """The product with P^{-1/2}(H + weight_decay·I)P^{-1/2}, whose eigenvalues are P⁻¹(…)'s.

        Args:
            optimizer: of the parameters, in its order, after its step; of one that
                `stability.is_supported` denies, it is H.
            groups: its `stability.read_settings` at the step.

        Returns:
            None where the step could move nothing.
        """
        if not stability.is_supported(optimizer):
            return self.product
        roots, decays = [], []
        for group, numbers in zip(optimizer.param_groups, groups, strict=True):
            decay = 0.0 if stability.decouples(numbers) else numbers["weight_decay"]
            for p in (p for p in group["params"] if p.requires_grad):
                roots.append(stability.preconditioner(optimizer, p, numbers).rsqrt())
                decays.append(torch.full_like(roots[-1], decay))
        root, decay = flatten(roots).to(self.dtype), flatten(decays).to(self.dtype)
        if not root.any():
            return None
        return lambda v: root * (self.product(root * v) + decay * (root * v))

    def _average(self, vector: Tensor) -> Tensor:
        return self._mean(vector.to(self.dtype) / self._scale)


@contextmanager
def _second_derivatives() -> Iterator[None]:
    try:
        with explain_failure("Sharpness"):
            yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        if reason.startswith("Sharpness"):
            raise
        raise RuntimeError(f"Sharpness needs second derivatives: {reason}") from error
