"""Products of a loss's curvature with vectors, without the matrix."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor

from scratchopt.second_order.flat import flatten

Product: TypeAlias = Callable[[Tensor], Tensor]
COMPILED = (
    "Newton needs second derivatives, which a compiled model does not have: give it the model "
    "without torch.compile"
)


def make_product(
    kind: str, loss: Tensor, outputs: Tensor | None, parameters: Sequence[Tensor]
) -> Product:
    """Makes the product of a kind of curvature with vectors.

    Args:
        kind: "hessian" or "gauss_newton".
        loss: 0-dim, with its graph.
        outputs: for "gauss_newton".
        parameters: θ.

    Raises:
        RuntimeError: no outputs, where they are needed; a compiled model.
    """
    with explain_failure():
        if kind == "hessian":
            return hessian(loss, parameters)
        if outputs is None:
            raise RuntimeError(
                "curvature=gauss_newton needs the network's outputs: backward(loss, outputs); "
                "under Lightning call self(inputs) in training_step, whose result they are"
            )
        return gauss_newton(loss, outputs, parameters)


@contextmanager
def explain_failure() -> Iterator[None]:
    """Explains an error that a compiled model raises in the block, for want of derivatives."""
    try:
        yield
    except RuntimeError as error:
        of_compiled = "double backward" in str(error) or "donated buffers" in str(error)
        if of_compiled and "CuDNN" not in str(error):
            raise RuntimeError(COMPILED) from error
        raise


def hessian(loss: Tensor, parameters: Sequence[Tensor]) -> Product:
    """The Hessian of a loss: a function from v to Hv, of one vector or of several in rows.

    Hv = ∂(gᵀv)/∂θ, with g the gradient, itself with a graph. The loss's graph must live until the
    last product.

    Args:
        loss: 0-dim, with its graph.
        parameters: θ, n numbers in all; v and Hv have shape (n,), or (k, n).

    Reference: Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994).
    """
    return derivative(flat_gradient(loss, parameters), parameters)


def derivative(gradient: Tensor, parameters: Sequence[Tensor]) -> Product:
    """The Hessian by its products, where the gradient is there already, flat and with its graph."""

    def product(vectors: Tensor) -> Tensor:
        return _pull_back(gradient, parameters, vectors)

    return product


def gauss_newton(loss: Tensor, outputs: Tensor, parameters: Sequence[Tensor]) -> Product:
    """The generalised Gauss–Newton matrix G = JᵀMJ: a function from v to Gv.

    J = ∂z/∂θ is the Jacobian of the outputs, and M = ∂²loss/∂z² the loss's Hessian there. With a
    loss convex in z, such as a cross entropy of logits or a squared error, G has no negative
    eigenvalue. Jv is the derivative of Jᵀu, which is linear in u, in direction v.

    Args:
        loss: 0-dim, with its graph.
        outputs: z, of any shape, between θ and the loss.
        parameters: θ, n numbers in all; v and Gv have shape (n,), or (k, n).

    Reference: Schraudolph, "Fast curvature matrix-vector products for second-order gradient
    descent", Neural Computation 14 (2002).
    """
    probe = torch.zeros_like(outputs, requires_grad=True)
    weighted = flat_gradient(outputs, parameters, probe)  # Jᵀu
    with torch.enable_grad():  # raises where the outputs do not lead to the loss
        (of_outputs,) = torch.autograd.grad(loss, outputs, create_graph=True)

    def product(vectors: Tensor) -> Tensor:
        rows = vectors.shape[:-1]
        along = _pull_back(weighted, [probe], vectors).view((*rows, *outputs.shape))
        curved = _pull_back(of_outputs, [outputs], along).view((*rows, *outputs.shape))
        return _pull_back(outputs, parameters, curved)

    return product


def flat_gradient(
    of: Tensor, parameters: Sequence[Tensor], weights: Tensor | None = None
) -> Tensor:
    """The gradient as one vector, with its graph; zeros for parameters that do not matter."""
    with torch.enable_grad():
        found = torch.autograd.grad(
            of, parameters, weights, create_graph=True, materialize_grads=True
        )
        return flatten(found)


def _pull_back(output: Tensor, inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Σ weights·∂output/∂inputs as one vector; of several weights in front, as rows."""
    batched = weights.dim() > output.dim()
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if output.requires_grad and weights.shape[:1] != (0,):  # else it is constant, or of no numbers
        found = torch.autograd.grad(
            output,
            inputs,
            weights,
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=batched,
        )
    rows = weights.shape[:1] if batched else ()
    pieces = [
        x.new_zeros(*rows, *x.shape) if g is None else g for x, g in zip(inputs, found, strict=True)
    ]
    flat = [piece.reshape((*rows, x.numel())) for piece, x in zip(pieces, inputs, strict=True)]
    return torch.cat(flat, dim=-1)
