"""Which parameters share a bucket: those that one rule updates, of one dtype and device."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import Parameter, is_lazy

from scratchopt.engine.shapes import Shape
from scratchopt.optimizer import Optimizer
from scratchopt.zero.processes import Processes

# torch's own that update each number by itself, so that they may be given pieces of parameters.
ELEMENTWISE = (
    *("SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "NAdam", "RAdam"),
    *("Adamax", "Adadelta", "ASGD", "Rprop"),
)


class Part(NamedTuple):
    """Parameters of a bucket.

    Args:
        parameters: of one group, dtype and device, that all require a gradient, or none.
        whole: whether their rule needs whole tensors.
        optimizer: that updates them, if one does.
    """

    parameters: list[Parameter]
    whole: bool
    optimizer: torch.optim.Optimizer | None


def check(module: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Refuses what no stage can be made of.

    Raises:
        TypeError: a single optimizer.
        RuntimeError: an optimizer at its gradient point; a parameter that has no shape yet, or
            that another stage shares out.
    """
    if isinstance(optimizers, torch.optim.Optimizer):
        raise TypeError(f"{type(optimizers).__name__} stands alone: give a list, [optimizer]")
    for optimizer in optimizers:
        if getattr(optimizer, "ahead", False):
            raise RuntimeError(
                f"{type(optimizer).__name__} is at its gradient point: call restore_() before you "
                "make a stage"
            )
    for name, p in module.named_parameters():
        if hasattr(p, "shared"):
            raise RuntimeError(
                f"{name} is shared out already: make a model and its optimizer anew for each stage"
            )
        if is_lazy(p):
            raise RuntimeError(f"{name} has no shape yet: run a batch through the model before")


def refuse_differences(module: nn.Module, processes: Processes) -> None:
    """Raises a RuntimeError for models that differ."""
    named = (*module.named_parameters(), *module.named_buffers())
    own = [(name, tuple(p.shape), str(p.dtype), p.requires_grad) for name, p in named]
    for rank, other in enumerate(processes.gather_objects(own)):
        for a, b in zip_longest(own, other):
            if a != b:
                raise RuntimeError(
                    f"process {processes.rank} has {_describe(a)}, and process {rank} has "
                    f"{_describe(b)}: make the same model in all processes"
                )


def _describe(found: tuple[str, tuple[int, ...], str, bool] | None) -> str:
    if found is None:
        return "nothing more"
    name, shape, dtype, trains = found
    return f"{name} of shape {shape}, {dtype}, {'trained' if trains else 'not trained'}"


def split_by_kind(
    parameters: Iterable[Parameter],
    optimizers: list[torch.optim.Optimizer],
    bucket_bytes: float,
    *,
    all_of_them: bool = False,
) -> list[Part]:
    """Splits parameters into buckets, those that a backward pass brings first coming first.

    Args:
        parameters: in the order in which a forward pass uses them.
        optimizers: whose groups are kept apart.
        bucket_bytes: at most so many in a bucket, unless a single parameter has more.
        all_of_them: whether those that no optimizer has are among them.
    """
    owned = [(o, group) for o in optimizers for group in o.param_groups]
    numbers = {id(p): number for number, (_, group) in enumerate(owned) for p in group["params"]}
    kinds: dict[Any, list[tuple[int, Parameter]]] = defaultdict(list)
    for place, p in enumerate(parameters):
        number = numbers.get(id(p))
        if number is not None or all_of_them:
            kinds[number, p.dtype, p.device, p.requires_grad].append((place, p))
    found = []
    for (number, *_), members in kinds.items():
        optimizer, group = (None, {}) if number is None else owned[number]
        whole = optimizer is not None and find_shape(optimizer, group).whole
        for chunk in _chunks(members[::-1], bucket_bytes):
            found.append((chunk[-1][0], Part([p for _, p in chunk[::-1]], whole, optimizer)))
    return [part for _, part in sorted(found, key=lambda pair: -pair[0])]


def find_shape(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> Shape:
    """Finds the shape of a group's rule, which says what it needs to see at once.

    Raises:
        RuntimeError: an optimizer that needs all parameters at once, or that nobody knows.
    """
    name = type(optimizer).__name__
    if isinstance(optimizer, Optimizer):
        shape = optimizer.shape_of(group)
        if shape is not None:
            return shape
        reason = "needs all parameters in each process"
    elif type(optimizer) is getattr(torch.optim, name, None) and name in ELEMENTWISE:
        return Shape()
    else:
        reason = "may need more than a piece of each parameter"
    raise RuntimeError(f"{name} {reason}: use strategy='ddp' (accelerator=ddp)")


def _chunks(
    members: list[tuple[int, Parameter]], most: float
) -> Iterator[list[tuple[int, Parameter]]]:
    chunk, size = [], 0
    for member in members:
        if chunk and size + member[1].nbytes > most:
            yield chunk
            chunk, size = [], 0
        chunk.append(member)
        size += member[1].nbytes
    if chunk:
        yield chunk
