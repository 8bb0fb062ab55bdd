"""One table of optimizers that drives the tests: a new method is a new row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import scratchopt


class Case(NamedTuple):
    """An optimizer with settings that work on well-scaled problems, and its twin in torch."""

    cls: Callable[..., scratchopt.Optimizer]
    settings: dict[str, Any]
    twin: Callable[..., torch.optim.Optimizer] | None = None  # torch's own, bit for bit the same
    needs_closure: bool = False  # the gradient must be taken where the optimizer says
    needs_hessian: bool = False  # and the live loss must pass through it


def _nesterov(params: Any, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, nesterov=True, **settings)


CASES = {
    "sgd": Case(scratchopt.SGD, {"lr": 0.1}, torch.optim.SGD),
    "momentum": Case(scratchopt.Momentum, {"lr": 0.05, "momentum": 0.9}),
    "nag": Case(scratchopt.NAG, {"lr": 0.05, "momentum": 0.9}, needs_closure=True),
    "nag_torch": Case(scratchopt.NAGTorch, {"lr": 0.05, "momentum": 0.9}, _nesterov),
    "newton": Case(scratchopt.Newton, {"lr": 1.0, "damping": 0.1}, needs_hessian=True),
}


def take_step(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Tensor:
    """One step with any optimizer of the table, or torch's."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        if isinstance(optimizer, scratchopt.Newton):
            optimizer.backward(value)
        else:
            value.backward()
        return value

    return optimizer.step(closure)  # type: ignore[arg-type]  # torch says float, and means this
