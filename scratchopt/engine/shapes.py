"""The shapes of a rule: what a driver gives it, and which options it may have."""

from typing import Any, NamedTuple

from torch import Tensor

from scratchopt.engine.operations import RuleError


class Shape(NamedTuple):
    """The parts of the parameters that a rule needs to see at once, and what follows from that.

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
    "global": Shape(sums=True),
}
# An elementwise rule's with cautious=True.
CAUTIOUS = SHAPES["tensor"]._replace(why="cautious=True takes a mean over each whole tensor")


def find_shape(name: str, method: str, takes_sums: bool) -> Shape:
    """The shape of a name.

    Args:
        name: of the shape.
        method: its name.
        takes_sums: whether it has `sums`.

    Raises:
        RuleError: another name, with those that there are; sums of another shape, or a shape that
            lacks them.
    """
    if name not in SHAPES:
        raise RuleError(f"{method} has shape = {name!r}: one of {', '.join(map(repr, SHAPES))}")
    shape = SHAPES[name]
    if takes_sums and not shape.sums:
        raise RuleError(f'{method} has sums, and shape = {name!r}: declare shape = "global"')
    if shape.sums and not takes_sums:
        raise RuleError(
            f"{method} has shape = {name!r}, and no sums: add a static method sums(p, g) that "
            'returns them by name, as in {"square": (g * g).sum()}'
        )
    return shape


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
    """Raises a RuntimeError for a parameter that a rule of a shape can't update."""
    if shape.whole and p.is_complex():
        raise RuntimeError(
            f"{method} does not support complex parameters, as {shape.why}, and one is of "
            f"{p.dtype}: keep torch.view_as_real of it as the parameter"
        )
    if (shape.whole or shape.sums) and getattr(p, "_fsdp_flattened", False):
        raise RuntimeError(
            f"{method} needs whole parameters, and FSDP1 cuts one flat tensor anywhere: use FSDP2 "
            "(fully_shard, or strategy='fsdp2')"
        )
    if p.dim() < shape.least:
        raise RuntimeError(
            f"{method} updates matrices, of {shape.least} dimensions or more, and a parameter has "
            f"the shape {tuple(p.shape)}: give it to another optimizer"
        )
