"""Optimizers you can read, proven against the paper and against PyTorch.

The names are imported when first used: `import scratchopt.ranges` does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scratchopt.adagrad import Adagrad
    from scratchopt.adam import Adam
    from scratchopt.adamw import AdamW
    from scratchopt.memory_footprint import memory
    from scratchopt.momentum import Momentum
    from scratchopt.nag import NAG
    from scratchopt.nag_torch import NAGTorch
    from scratchopt.newton import Newton
    from scratchopt.optimizer import Optimizer
    from scratchopt.rmsprop import RMSprop
    from scratchopt.sgd import SGD
    from scratchopt.torch_twins import from_torch, to_torch

__version__ = "0.1.0"  # pyproject.toml reads it here

__all__ = [
    "NAG",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Momentum",
    "NAGTorch",
    "Newton",
    "Optimizer",
    "RMSprop",
    "from_torch",
    "memory",
    "to_torch",
]

# In order of rising complexity.
_MODULE_OF = {
    "Optimizer": "optimizer",
    "SGD": "sgd",
    "Momentum": "momentum",
    "NAG": "nag",
    "NAGTorch": "nag_torch",
    "Adagrad": "adagrad",
    "RMSprop": "rmsprop",
    "Adam": "adam",
    "AdamW": "adamw",
    "Newton": "newton",
    "memory": "memory_footprint",
    "from_torch": "torch_twins",
    "to_torch": "torch_twins",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'scratchopt' has no attribute {name!r}")
    return getattr(import_module(f"scratchopt.{_MODULE_OF[name]}"), name)
