"""Newton on torch's layers: each has its true curvature, or is refused with what to do."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scratchopt import Newton
from scratchopt.second_order.curvature import hessian, twice_differentiable

RANDOM = torch.Generator().manual_seed(0)
SEQUENCES = torch.randn(6, 4, 8, generator=RANDOM, dtype=torch.float64)
IMAGES = torch.randn(6, 2, 6, 6, generator=RANDOM, dtype=torch.float64)
TOKENS = torch.randint(5, (6, 4), generator=RANDOM)
LABELS = torch.arange(6) % 3


class Apply(nn.Module):
    """Calls a function of the inputs and of a module."""

    def __init__(self, function: Callable[..., Any], module: nn.Module) -> None:
        super().__init__()
        self.function, self.module = function, module

    def forward(self, inputs):
        return self.function(inputs, self.module)


def first(inputs, module):
    return module(inputs)[0]


def attend(inputs, module):
    queries = module(inputs)
    return F.scaled_dot_product_attention(queries, queries, queries, is_causal=True)


def of_sequences(make: Callable[[], nn.Module]) -> Any:
    return (lambda: nn.Sequential(make(), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))), SEQUENCES


def of_images(make: Callable[[], nn.Module]) -> Any:
    layers = lambda: (nn.Conv2d(2, 4, 3), make(), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))  # noqa: E731
    return (lambda: nn.Sequential(*layers())), IMAGES


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, activation="gelu", batch_first=True)


LAYERS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "encoder": of_sequences(encoder),
    "encoder, evaluated": of_sequences(lambda: encoder().eval()),
    "decoder": of_sequences(
        lambda: Apply(
            lambda x, m: m(x, x),
            nn.TransformerDecoderLayer(8, 2, 8, dropout=0.0, activation="gelu", batch_first=True),
        )
    ),
    "attention": of_sequences(lambda: Apply(attend, nn.Linear(8, 8))),
    "LSTM": of_sequences(lambda: Apply(first, nn.LSTM(8, 6, batch_first=True))),
    "GRU": of_sequences(lambda: Apply(first, nn.GRU(8, 6, batch_first=True))),
    "LayerNorm": of_sequences(lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))),
    "RMSNorm": of_sequences(lambda: nn.Sequential(nn.Linear(8, 8), nn.RMSNorm(8))),
    "GroupNorm": of_images(lambda: nn.GroupNorm(2, 4)),
    "BatchNorm": of_images(lambda: nn.BatchNorm2d(4)),
    "BatchNorm, evaluated": of_images(lambda: nn.BatchNorm2d(4).eval()),
    "InstanceNorm": of_images(lambda: nn.InstanceNorm2d(4, affine=True)),
    "MaxPool": of_images(lambda: nn.MaxPool2d(2)),
    "AdaptiveAvgPool": of_images(lambda: nn.AdaptiveAvgPool2d(2)),
    "ConvTranspose": of_images(lambda: nn.ConvTranspose2d(4, 2, 2)),
    "interpolate": of_images(lambda: nn.Upsample(scale_factor=0.5, mode="bilinear")),
    "Embedding": (
        lambda: nn.Sequential(nn.Embedding(5, 6), nn.Flatten(), nn.Tanh(), nn.Linear(24, 3)),
        TOKENS,
    ),
    "Bilinear": (
        lambda: Apply(lambda x, m: m(x[:, 0, :4], x[:, 0, 4:]), nn.Bilinear(4, 4, 3)),
        SEQUENCES,
    ),
}


def make(layer: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    build, inputs = LAYERS[layer]
    model = build().double()
    model(inputs)  # makes what is lazy
    return model, inputs


@pytest.mark.parametrize("layer", LAYERS)
def test_the_curvature_is_the_derivative_of_the_gradient(layer):
    model, inputs = make(layer)
    params = list(model.parameters())
    start = nn.utils.parameters_to_vector(params).detach().clone()
    directions = torch.randn(3, len(start), generator=RANDOM, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return F.cross_entropy(model(inputs), LABELS)

    def gradient(theta: torch.Tensor) -> torch.Tensor:
        nn.utils.vector_to_parameters(theta, params)
        return nn.utils.parameters_to_vector(torch.autograd.grad(loss(), params))

    with twice_differentiable():
        h = 1e-5
        differences = torch.stack(
            [(gradient(start + h * v) - gradient(start - h * v)) / (2 * h) for v in directions]
        )
        nn.utils.vector_to_parameters(start, params)
        product = hessian(loss(), params)
        torch.testing.assert_close(product(directions), differences, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(product(directions[0]), differences[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "curvature", ["hessian", pytest.param("gauss_newton", marks=pytest.mark.full)]
)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_network_of_it_trains_alike_by_every_solver(layer, curvature):
    ends = []
    cg: dict[str, Any] = {"solver": "cg", "cg_iters": 2000, "cg_tol": 1e-12}
    for solver in ({}, cg):
        model, inputs = make(layer)
        # The damping is above any negative curvature, where conjugate gradients would end.
        optimizer = Newton(model.parameters(), damping=5.0, curvature=curvature, **solver)
        losses = []

        def closure(model: Any = model, inputs: Any = inputs, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = F.cross_entropy(outputs, LABELS)
            optimizer.backward(loss, outputs)
            return loss

        losses = [optimizer.step(closure).item() for _ in range(3)]
        assert losses[0] > losses[1] > losses[2]
        ends.append(nn.utils.parameters_to_vector(model.parameters()).detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-9)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):  # type: ignore[override]
        return 3 * g * ctx.saved_tensors[0] ** 2


REFUSED = {
    "EmbeddingBag": (
        lambda: nn.EmbeddingBag(5, 3),
        TOKENS,
        "a layer or loss has none .*_embedding_bag",
    ),
    "cdist": (
        lambda: Apply(lambda x, m: torch.cdist(x[:, 0], m.weight), nn.Linear(8, 3)),
        SEQUENCES,
        "a layer or loss has none .*_cdist_backward",
    ),
    "sparse embedding": (
        lambda: nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(12, 3)),
        TOKENS,
        "use an embedding with sparse=False",
    ),
    "once_differentiable": (
        lambda: Apply(lambda x, m: Once.apply(m(x[:, 0])), nn.Linear(8, 3)),
        SEQUENCES,
        "a layer or loss has none .*once_differentiable",
    ),
}


@pytest.mark.parametrize("solver", ["dense", "cg"])
@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("layer", REFUSED)
def test_what_has_no_second_derivative_is_named_with_what_to_do(layer, curvature, solver):
    make, inputs, message = REFUSED[layer]
    torch.manual_seed(0)
    model = make().double()
    optimizer = Newton(model.parameters(), damping=1.0, curvature=curvature, solver=solver)

    def train() -> None:
        outputs = model(inputs)
        optimizer.backward(F.cross_entropy(outputs, LABELS), outputs)
        optimizer.step()

    with pytest.raises(RuntimeError, match=message) as failure:
        train()
    assert "\n" not in str(failure.value)


def test_attention_outside_of_a_closure_is_refused_with_what_to_do():
    model, inputs = make("encoder")
    optimizer = Newton(model.parameters(), damping=1.0)
    with pytest.raises(RuntimeError, match=r"within torch\.nn\.attention\.sdpa_kernel"):
        optimizer.backward(F.cross_entropy(model(inputs), LABELS))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        optimizer.backward(F.cross_entropy(model(inputs), LABELS))
    optimizer.step()
