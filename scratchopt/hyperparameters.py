"""Hyperparameters, checked where they enter."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from scratchopt.engine.update import refuse_together
from scratchopt.ranges import Range, check_range


def check_all(hyperparameters: dict[str, Any], ranges: Sequence[Range] = ()) -> None:
    """Raises where a value is out of its range, or options exclude each other."""
    lr = hyperparameters.get("lr")
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    betas = hyperparameters.get("betas", ())
    for i, beta in enumerate(betas if isinstance(betas, tuple | list) else ()):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")
    for name, value in hyperparameters.items():
        check_range(name, value, ranges)
    options = ("fused", "foreach", "differentiable", "capturable", "compensated")
    refuse_together(*map(hyperparameters.get, options))
