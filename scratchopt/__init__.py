"""Optimizers you can read, proven against the paper and against PyTorch.

The names are imported when first used: `import scratchopt.ranges` does not load torch.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"  # pyproject.toml reads it here

if TYPE_CHECKING:  # the public names; `_MODULE_OF` is read from these lines
    from scratchopt.adafactor import Adafactor as Adafactor
    from scratchopt.adagrad import Adagrad as Adagrad
    from scratchopt.adam import Adam as Adam
    from scratchopt.adamw import AdamW as AdamW
    from scratchopt.ademamix import AdEMAMix as AdEMAMix
    from scratchopt.lion import Lion as Lion
    from scratchopt.memory_footprint import memory as memory
    from scratchopt.momentum import Momentum as Momentum
    from scratchopt.muon import Muon as Muon
    from scratchopt.nadam import NAdam as NAdam
    from scratchopt.nag import NAG as NAG
    from scratchopt.nag_torch import NAGTorch as NAGTorch
    from scratchopt.newton import Newton as Newton
    from scratchopt.optimizer import Optimizer as Optimizer
    from scratchopt.radam import RAdam as RAdam
    from scratchopt.rmsprop import RMSprop as RMSprop
    from scratchopt.schedule_free_adamw import ScheduleFreeAdamW as ScheduleFreeAdamW
    from scratchopt.schedule_free_sgd import ScheduleFreeSGD as ScheduleFreeSGD
    from scratchopt.sgd import SGD as SGD
    from scratchopt.soap import SOAP as SOAP
    from scratchopt.torch_twins import from_torch as from_torch
    from scratchopt.torch_twins import to_torch as to_torch

_MODULE_OF = {
    alias.name: str(node.module)
    for node in ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
    if alias.asname
}


def __getattr__(name: str) -> Any:
    if name == "__all__":  # for `from scratchopt import *`
        return list(_MODULE_OF)
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'scratchopt' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
