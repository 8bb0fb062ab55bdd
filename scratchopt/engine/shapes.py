"""The shapes of a rule: what a driver gives it, and which options it may have."""

from typing import Any, NamedTuple

from torch import Tensor

from scratchopt.engine.operations import RuleError


class Shape(NamedTuple):
    """What a rule needs to see of the parameters at once.

    Args:
        whole: whether the rule gets plain tensors, one whole parameter at a time. Then it may use
            all of torch, and its state may have any shape and dtype.
        sums: whether the rule takes sums over all parameters as numbers.
        least: dimensions that a parameter has.
        refused: options that it can't have.
        why: in messages.
    """

    whole: bool = False
    sums: bool = False
    least: int = 0
    refused: tuple[str, ...] = ()
    why: str = ""


_ONE_AT_A_TIME = "its rule takes one whole tensor at a time"

SHAPES = {
    "elementwise": Shape(),
    "tensor": Shape(whole=True, refused=("fused", "foreach"), why=_ONE_AT_A_TIME),
    "matrix": Shape(
        whole=True, least=2, refused=("fused", "foreach", "capturable"), why=_ONE_AT_A_TIME
    ),
    "global": Shape(
        sums=True, refused=("capturable",), why="its rule takes sums over all parameters as numbers"
    ),
}


def find_shape(name: str, method: str) -> Shape:
    """The shape of a name.

    Raises:
        RuleError: another name, with those that there are.
    """
    if name not in SHAPES:
        raise RuleError(f"{method} has shape = {name!r}: one of {', '.join(map(repr, SHAPES))}")
    return SHAPES[name]


def refuse_options(shape: Shape, method: str, options: dict[str, Any]) -> None:
    """Raises a RuntimeError where a group has an option that its rule can't have.

    Args:
        shape: of the rule.
        method: its name.
        options: of the group, by name.
    """
    for name in shape.refused:
        if options.get(name):
            raise RuntimeError(
                f"{method} does not support {name}=True, as {shape.why}: leave it out"
            )


def refuse_parameter(shape: Shape, method: str, p: Tensor) -> None:
    """Raises a RuntimeError for a parameter that a rule of whole tensors can't update."""
    if shape.whole and p.is_complex():
        raise RuntimeError(
            f"{method} does not support complex parameters, and one is of {p.dtype}: keep "
            "torch.view_as_real of it as the parameter"
        )
    if p.dim() < shape.least:
        raise RuntimeError(
            f"{method} updates matrices, of {shape.least} dimensions or more, and a parameter has "
            f"the shape {tuple(p.shape)}: give it to another optimizer"
        )
