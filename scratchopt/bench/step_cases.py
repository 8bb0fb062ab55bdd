"""Sizes and methods that `bench.py step` times, with their twins in torch. Imports no torch."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple


class Size(NamedTuple):
    """A model, as its parameters' shapes.

    Args:
        shapes: in the model's order.
        steps: in a row, of which a time is the mean; more than one where one is short.
        rounds: how often everything is timed, if nobody says.
    """

    shapes: tuple[tuple[int, ...], ...]
    steps: int
    rounds: int


class Method(NamedTuple):
    """A method of ours, by its class's name.

    Args:
        reads: the tensors that a step must read, by the rule's letters; p and g stand for
            parameter and gradient.
        writes: those that it must write.
        twin: the class in torch.optim that does the same amount of work.
        settings: of the twin; ours has its defaults, and both have the same lr.
        fused: devices where the twin has fused=True.
    """

    reads: str
    writes: str
    twin: str
    settings: Mapping[str, Any] = MappingProxyType({})
    fused: tuple[str, ...] = ("cpu", "cuda")

    @property
    def moves(self) -> int:
        """Tensors of the parameter's size that pass between memory and processor in a step."""
        return len(self.reads) + len(self.writes)


_HEAVY_BALL = MappingProxyType({"momentum": 0.9})
_NESTEROV = MappingProxyType({"momentum": 0.9, "nesterov": True})

METHODS = {
    "SGD": Method("pg", "p", "SGD"),
    "Momentum": Method("pgv", "pv", "SGD", _HEAVY_BALL),
    # First its lookahead, which is part of its step, and which torch's approximation has not.
    "NAG": Method("pv" + "pgv", "p" + "pv", "SGD", _NESTEROV),
    "NAGTorch": Method("pgv", "pv", "SGD", _NESTEROV),
    "Adagrad": Method("pgs", "ps", "Adagrad", fused=("cpu",)),
    "RMSprop": Method("pgv", "pv", "RMSprop", fused=()),
    "Adam": Method("pgmv", "pmv", "Adam"),
    "AdamW": Method("pgmv", "pmv", "AdamW"),
}


def _layers(*widths: int) -> tuple[tuple[int, ...], ...]:
    """A multilayer perceptron: a weight and a bias a layer."""
    pairs = pairwise(widths)
    return tuple(shape for wide, narrow in pairs for shape in ((narrow, wide), (narrow,)))


def _gpt2(width: int, depth: int, tokens: int, context: int) -> tuple[tuple[int, ...], ...]:
    """Radford et al. (2019); the last layer is the embedding once more."""
    norm = ((width,), (width,))
    attention = ((width, 3 * width), (3 * width,), (width, width), (width,))
    mlp = ((width, 4 * width), (4 * width,), (4 * width, width), (width,))
    block = norm + attention + norm + mlp
    return ((tokens, width), (context, width), *depth * block, *norm)


SIZES = {
    "784-128-10": Size(_layers(784, 128, 10), steps=50, rounds=51),
    "784-1024-1024-10": Size(_layers(784, 1024, 1024, 10), steps=5, rounds=51),
    "600x4k": Size(600 * ((64, 64),), steps=5, rounds=21),
    "gpt2-small": Size(_gpt2(768, 12, 50257, 1024), steps=1, rounds=5),
}
