"""The units of a model, such as the blocks of a transformer, one after the other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import Parameter

from scratchopt.zero.shared_bucket import SharedBucket


@dataclass
class Unit:
    """A part of the model whose parameters are whole only while it computes."""

    buckets: list[SharedBucket]
    forward: int = 0  # passes under way; one may be within another
    backward: bool = False  # whether a pass is under way

    @property
    def computes(self) -> bool:
        """True while its parameters must be whole."""
        return self.forward > 0 or self.backward

    def fill(self) -> None:
        """Makes the parameters whole."""
        for bucket in self.buckets:
            if not bucket.is_whole:
                bucket.adopt()
                bucket.fill()

    def free(self) -> None:
        """Frees the parameters, unless it computes."""
        for bucket in () if self.computes else self.buckets:
            bucket.free()


def find_units(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Finds the elements of a model's `nn.Sequential`s and `nn.ModuleList`s that have parameters.

    Of lists within lists the outermost counts, so that a transformer's blocks are units, and not
    the layers of a block. What is in no list belongs to none of them.

    Args:
        module: the model.

    Returns:
        Names and modules, in the model's order.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 1)))
    >>> [name for name, _ in find_units(net)]
    ['0', '2']
    """
    is_list = isinstance(module, nn.Sequential | nn.ModuleList)
    for name, child in module.named_children():
        if is_list:
            if any(True for _ in child.parameters()):
                yield name, child
        else:
            yield from ((f"{name}.{inner}", unit) for inner, unit in find_units(child))


def find_tensors(output: Any, unit: nn.Module | None = None) -> list[Tensor]:
    """Finds the tensors in what a module returns, in containers and dataclasses too.

    Args:
        output: what it returns.
        unit: the module, if there must be any.

    Raises:
        RuntimeError: there are none.
    """
    if isinstance(output, Tensor):
        return [output]
    values: Any = ()
    if isinstance(output, Mapping):
        values = output.values()
    elif isinstance(output, list | tuple):
        values = output
    elif is_dataclass(output):
        values = [getattr(output, field.name) for field in fields(output)]
    found = [tensor for value in values for tensor in find_tensors(value)]
    if unit is not None and not found and output is not None:
        raise RuntimeError(
            f"the unit {type(unit).__name__} returned {type(output).__name__}, in which no tensor "
            "is found: return tensors, or a container or dataclass of them"
        )
    return found


def split_into_units(module: nn.Module) -> list[tuple[nn.Module, list[Parameter]]]:
    """Splits a model into its units, with their parameters, and last the model with what is left.

    Raises:
        RuntimeError: a parameter that is in two of them.
    """
    units = dict(find_units(module))
    parameters: dict[str, list[Parameter]] = {name: [] for name in (*units, "")}
    owners: dict[Parameter, tuple[str, str]] = {}
    for name, p in module.named_parameters(remove_duplicate=False):
        unit = next((unit for unit in units if name.startswith(f"{unit}.")), "")
        if p not in owners:
            parameters[unit].append(p)
        other, owner = owners.setdefault(p, (name, unit))
        if owner != unit:
            raise RuntimeError(
                f"{other} and {name} are one parameter, and of its two units none could free it "
                "for the other: use strategy='zero2' (accelerator=zero2)"
            )
    return [(units.get(name, module), owned) for name, owned in parameters.items()]
