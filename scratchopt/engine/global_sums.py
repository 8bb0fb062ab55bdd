"""Sums over all parameters, which a rule of the shape "global" takes as numbers."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from scratchopt.engine.buckets import Bucket
from scratchopt.engine.eager import widen
from scratchopt.engine.operations import RuleError
from scratchopt.engine.update import Numbers, Rule, Sums, as_scalar, label_of, number_names, of_each


def read_sums(
    function: Rule, buffers: int, kept: Mapping[str, Any], group: dict[str, Any], point: Rule | None
) -> Sums:
    """Reads which sums a method takes, by calling its `sums` on a few numbers.

    Args:
        function: the method's own.
        buffers: how many its rule has.
        kept: first values of the numbers that it keeps.
        group: with the hyperparameters.
        point: its gradient point, which may take none of the sums.

    Raises:
        RuleError: it takes what is not there, or gives something else than sums by name.
    """
    label, numbers = label_of(function), dict(group) | dict(kept)
    for name in number_names(function):
        if name not in numbers:
            raise RuleError(
                f"{label} takes {name}, which is neither in its param group nor among kept_numbers"
            )
    tensors = [torch.ones(2, 2) for _ in range(2 + buffers)]
    before = [t._version for t in tensors]
    with torch.no_grad():
        found = function(*tensors, **{name: numbers[name] for name in number_names(function)})
    if not isinstance(found, dict) or any(
        not isinstance(value, Tensor) or value.dim() for value in found.values()
    ):
        raise RuleError(
            f"{label} must return sums over a tensor's elements by name, each a 0-dim tensor, as "
            f'in return {{"square": (g * g).sum()}}, and not {found!r}'.replace("\n", " ")
        )
    if before != [t._version for t in tensors]:
        raise RuleError(f"{label} must leave p, g and the buffers as they are")
    for name in found:
        if name in numbers or name in number_names(point):
            raise RuleError(f"{label} returns {name}, a name that is taken: give it another")
    return Sums(function, tuple(found))


def add_up(rows: list[tuple[int, list[Any], Bucket]], groups: list[Any]) -> Numbers:
    """Adds up the sums of all parameters that take part, and of all processes that share them.

    Args:
        rows: index of the group, gradients and bucket.
        groups: of parameters.

    Returns:
        0-dim tensors by name; none where no rule takes any.
    """
    parts: dict[Any, list[Numbers]] = defaultdict(list)
    for index, grads, bucket in rows:
        if bucket.update.sums is not None:
            with torch.set_grad_enabled(bucket.update.options.differentiable):
                each = _sums_of_each(bucket, bucket.update.sums, grads, groups[index])
            for p, sums in zip(bucket.params, each, strict=True):
                parts[_place(p)].append(sums)
    totals: Numbers = {}
    for place, several in parts.items():
        names = list(several[0])
        added = torch.stack([_add([sums[name] for sums in several]) for name in names])
        added = _over_processes(added, *place[1:])
        for name, value in zip(names, added.unbind(), strict=True):
            totals[name] = totals[name] + value.to(totals[name].device) if name in totals else value
    return totals


def _sums_of_each(
    bucket: Bucket, sums: Sums, grads: list[Tensor], group: dict[str, Any]
) -> list[Numbers]:
    """The sums of each parameter of a bucket, or of this process's part of it."""
    update: Any = bucket.update
    names = {*update.names, *number_names(sums.function)} & group.keys()
    numbers: Numbers = {name: as_scalar(group[name]) for name in names}
    for name in update.kept_numbers:
        numbers[name] = [state[name] for state in bucket.states]
    columns = [[_local(t) for t in column] for column in bucket.columns(grads)]
    if bucket.kept:
        columns[0] = columns.pop()
    if update.options.compensated:
        count = 1 + len(update.keys)
        wide = [
            [widen(h) + l for h, l in zip(high, low, strict=True)]
            for high, low in zip(columns[:1] + columns[2:-count], columns[-count:], strict=True)
        ]
        columns = [wide[0], columns[1], *wide[1:]]
    each = zip(of_each(numbers, len(grads)), zip(*columns, strict=True), strict=True)
    return [update.sums_of(*row, **own) for own, row in each]


def _place(p: Any) -> Any:
    """The place of a parameter: its device, and the processes that have parts of it."""
    if hasattr(p, "shared"):  # a piece of what `scratchopt.zero` shares out
        return p.device, p.shared.bucket.processes
    if type(p) in (Tensor, Parameter) or not hasattr(p, "device_mesh"):
        return (p.device,)
    return p.device, p.device_mesh, p.placements


def _local(tensor: Any) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _add(values: list[Tensor]) -> Tensor:
    dtype = torch.float32 if values[0].device.type == "mps" else torch.float64  # it has no other
    return torch.stack([value.to(dtype) for value in values]).sum()


def _over_processes(sums: Tensor, mesh: Any = None, placements: Any = None) -> Tensor:
    """Adds up what each process has of its part."""
    if mesh is None:
        return sums
    if placements is None:
        return mesh.add_up(sums)
    from torch.distributed.tensor import DTensor, Partial, Replicate

    parts = [Partial() if placement.is_shard() else Replicate() for placement in placements]
    return DTensor.from_local(sums, mesh, parts, run_check=False).full_tensor()
