"""Hyperparameters: checked where they enter, read at each step."""

from typing import Any

from torch import Tensor

from scratchopt.engine.update import refuse_together
from scratchopt.ranges import check


def check_all(hyperparameters: dict[str, Any]) -> None:
    """Raises where a value is out of its range, or options exclude each other."""
    lr = hyperparameters.get("lr")
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    betas = hyperparameters.get("betas", (0.0, 0.0))
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f"Invalid betas: {betas} (two numbers)")
    for i, beta in enumerate(betas):
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")
    for name, value in hyperparameters.items():
        check(name, value)
    options = ("fused", "foreach", "differentiable", "capturable", "compensated")
    refuse_together(*map(hyperparameters.get, options))


def as_scalar(value: Any) -> Any:
    """A hyperparameter as autograd and broadcasting want it: a one-element tensor without shape."""
    if isinstance(value, tuple | list):
        return tuple(as_scalar(part) for part in value)
    return value.reshape(()) if isinstance(value, Tensor) else value


def as_number(value: Any) -> Any:
    """A hyperparameter as plain numbers; a one-element tensor is read (on a GPU, waited for)."""
    if type(value) is float:  # as most are
        return value
    if isinstance(value, tuple | list):
        return tuple(as_number(part) for part in value)
    return value.item() if isinstance(value, Tensor) else value
