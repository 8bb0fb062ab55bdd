"""Products of a loss's curvature with vectors, without the matrix."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scratchopt.second_order.flat import flatten

Product: TypeAlias = Callable[[Tensor], Tensor]
COMPILED = (
    "{} needs second derivatives, which a compiled model does not have: give it the model "
    "without torch.compile"
)
ATTENTION = (
    "{} needs second derivatives, which fused attention does not have: make the forward pass in "
    "the closure of step(closure), or within torch.nn.attention.sdpa_kernel(SDPBackend.MATH)"
)
MISSING = (
    "{} needs second derivatives, and a layer or loss has none ({}): write it in operations that "
    "have (an EmbeddingBag as the mean of an Embedding, cdist with "
    "compute_mode='use_mm_for_euclid_dist'), or use a first-order optimizer"
)
SPARSE = "second derivatives need gradients that are not sparse: use an embedding with sparse=False"


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
        RuntimeError: no outputs, where they are needed; no second derivatives.
    """
    if kind == "hessian":
        return hessian(loss, parameters)
    if outputs is None:
        raise RuntimeError(
            "curvature=gauss_newton needs the network's outputs: backward(loss, outputs); "
            "under Lightning call self(inputs) in training_step, whose result they are"
        )
    return gauss_newton(loss, outputs, parameters)


def twice_differentiable() -> AbstractContextManager[Any]:
    """A context in which torch computes attention by the kernel that has second derivatives."""
    return sdpa_kernel(SDPBackend.MATH)


@contextmanager
def explain_failure(who: str = "Newton") -> Iterator[None]:
    """Explains an error in the block that comes of a missing second derivative.

    Args:
        who: needs it.
    """
    try:
        yield
    except RuntimeError as error:
        message = _explain(str(error))
        if message is None:
            raise
        raise RuntimeError(message.format(who, str(error).partition("\n")[0])) from error


def _explain(error: str) -> str | None:
    if "CuDNN" in error:  # which says itself what to do
        return None
    if "double backward" in error or "donated buffers" in error:
        return COMPILED
    if "scaled_dot_product" in error:
        return ATTENTION
    missing = "derivative" in error and "not implemented" in error
    return MISSING if missing or "once_differentiable" in error else None


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
    """The gradient as one vector, with its graph; zeros for parameters that do not matter.

    Raises:
        RuntimeError: a gradient that is sparse, or has no derivative.
    """
    with torch.enable_grad():
        found = torch.autograd.grad(
            of, parameters, weights, create_graph=True, materialize_grads=True
        )
        if any(gradient.layout != torch.strided for gradient in found):
            raise RuntimeError(SPARSE)
        gradient = flatten(found)
    _refuse_once_differentiable(gradient)
    return gradient


def _refuse_once_differentiable(gradient: Tensor) -> None:
    """Refuses a gradient with a `once_differentiable` part, which second derivatives leave out.

    torch marks what a once_differentiable function returns with a node that raises, but one that
    leads nowhere, so that a derivative with regard to given tensors never comes to it.
    """
    nodes, seen = [gradient.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "Error":
            raise RuntimeError("a function in the loss is marked once_differentiable")
        nodes += [following for following, _ in node.next_functions]


def _pull_back(output: Tensor, inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Σ weights·∂output/∂inputs as one vector; of several weights in front, as rows."""
    batched = weights.dim() > output.dim()
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if output.requires_grad and weights.shape[:1] != (0,):  # else it is constant, or of no numbers
        try:
            found = torch.autograd.grad(
                output,
                inputs,
                weights,
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=batched,
            )
        except RuntimeError:
            if not batched:
                raise
            # torch cannot batch every operation, as a GroupNorm; any other error comes again.
            return torch.stack([_pull_back(output, inputs, row) for row in weights])
    rows = weights.shape[:1] if batched else ()
    pieces = [
        x.new_zeros(*rows, *x.shape) if g is None else g for x, g in zip(inputs, found, strict=True)
    ]
    flat = [piece.reshape((*rows, x.numel())) for piece, x in zip(pieces, inputs, strict=True)]
    return torch.cat(flat, dim=-1)
