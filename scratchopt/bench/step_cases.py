"""Sizes and methods that `bench.py step` times, with their twins in torch. Imports no torch."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from scratchopt.method_files import Source, methods


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


class TimedMethod(NamedTuple):
    """A method of ours, by its class's name.

    Args:
        reads: the tensors that a step must read, by the rule's letters; p and g stand for
            parameter and gradient.
        writes: those that it must write.
        twin: the class in torch.optim that does the same amount of work.
        settings: of the twin; ours has its defaults, and both have the same lr.
        fused: devices where the twin has fused=True.
        whole: whether its rule takes whole tensors, so that it can't have foreach and fused.
        matrix: whether the twin updates matrices alone, and torch's AdamW the rest.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    twin: str
    settings: Mapping[str, Any] = MappingProxyType({})
    fused: tuple[str, ...] = ("cpu", "cuda")
    whole: bool = False
    matrix: bool = False

    @property
    def moves(self) -> int:
        """Tensors of the parameter's size that pass between memory and processor in a step."""
        return len(self.reads) + len(self.writes)


# Devices where torch's class has fused=True, if not on both.
_FUSED: dict[str, tuple[str, ...]] = {
    "Adagrad": ("cpu",),
    **dict.fromkeys(("RMSprop", "NAdam", "RAdam", "Adafactor"), ()),
}


def _method(source: Source) -> TimedMethod:
    """Describes what a method reads and writes, and the twin in torch that keeps as much."""
    tensors, lookahead = source.letters("rule"), source.used_letters("gradient_point")
    buffers = tensors[2:]
    twin = source.literal("torch_twin", "") or ("Adam" if len(buffers) > 1 else "SGD")
    settings: dict[str, Any] = {}
    if twin == "SGD" and buffers:
        nesterov = bool(lookahead) or source.literal("fixed", {}).get("nesterov", False)
        settings = {"momentum": 0.9} | ({"nesterov": True} if nesterov else {})
    elif twin == "Adam" and len(buffers) > 2:
        settings = {"amsgrad": True}
    # A lookahead is part of the step, and torch's approximation has none.
    reads, writes = lookahead + tensors, (*lookahead[:1], "p", *buffers)
    shape = source.literal("shape", "elementwise")
    whole, matrix = shape in ("tensor", "matrix"), shape == "matrix"
    if source.node.name == "Adafactor":  # its means of rows and columns are next to nothing
        reads, writes = ("p", "g"), ("p",)
    fused = _FUSED.get(twin, ("cpu", "cuda"))
    return TimedMethod(reads, writes, twin, settings, fused, whole, matrix)


def _has_counterpart(source: Source) -> bool:
    """True if something in torch does as much work; nothing does SOAP's."""
    is_matrix = source.literal("shape", "elementwise") == "matrix"
    return bool(source.literal("torch_twin", "")) or not is_matrix


def _rank(source: Source) -> tuple[int, bool, str]:
    return len(source.letters("rule")), source.takes("rule", "t"), source.node.name


METHODS = {
    source.node.name: _method(source)
    for source in sorted(methods().values(), key=_rank)
    if source.letters("rule") and _has_counterpart(source)
}
# Numbers in the largest tensor with which a method of matrices is timed: products of an embedding's
# would take minutes a step.
LARGEST_MATRIX = 2**21


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
