"""The units of a model, such as the blocks of a transformer, one after the other."""

from collections.abc import Iterator

from torch import nn
from torch.nn import Parameter


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
