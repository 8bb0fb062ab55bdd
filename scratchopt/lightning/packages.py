"""The packages lightning.pytorch and pytorch_lightning: the same code, with classes of their own.

The callbacks work under both, so they ask for a class by its name.
"""

from typing import Any

from lightning.pytorch.utilities.model_helpers import is_overridden


def is_a(thing: Any, *names: str) -> bool:
    """True if a class of the thing has one of the names."""
    return not {base.__name__ for base in type(thing).__mro__}.isdisjoint(names)


def holds_all_parameters(strategy: Any) -> bool:
    """True if each process has all parameters whole, as second derivatives need them."""
    return is_a(strategy, "SingleDeviceStrategy", "DDPStrategy") and not is_a(strategy, "ZeRO")


def overrides(hook: str, module: Any) -> bool:
    """True if a module has a hook of its own, in place of LightningModule's."""
    bases = (base for base in type(module).__mro__ if base.__name__ == "LightningModule")
    return is_overridden(hook, module, parent=next(bases))
