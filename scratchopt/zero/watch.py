"""Notice of what users do between steps: they zero gradients, and add groups."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch import nn


class Watch:
    """Has something done before each call of an object's method, until it is removed.

    Args:
        owner: of the method.
        name: of the method.
        before: what is done.
    """

    def __init__(self, owner: object, name: str, before: Callable[[], Any]) -> None:
        self._owner, self._name = vars(owner), name
        self._earlier = self._owner.get(name)
        method = getattr(owner, name)

        @wraps(method)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            before()
            return method(*args, **kwargs)

        self._owner[name] = wrapper

    def remove(self) -> None:
        """Leaves the method as it was."""
        if self._earlier is None:
            self._owner.pop(self._name, None)
        else:
            self._owner[self._name] = self._earlier


def parameters_of(optimizers: list[torch.optim.Optimizer]) -> set[Any]:
    """The parameters that the optimizers update."""
    return {p for o in optimizers for group in o.param_groups for p in group["params"]}


def watch(
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    forget: Callable[..., None],
    known: Callable[[], set[Any]],
) -> list[Any]:
    """Notices gradients that are zeroed, and refuses a step with parameters that are not known.

    Args:
        module: the model.
        optimizers: of its parameters.
        forget: forgets gradients; those of an optimizer, if it gets one.
        known: tells what the optimizers may update.

    Returns:
        Handles.
    """

    def refuse_others(optimizer: torch.optim.Optimizer, *step: Any) -> None:
        for p in parameters_of([optimizer]) - known():
            shape = p.shared.shape if hasattr(p, "shared") else p.shape
            raise RuntimeError(
                f"{type(optimizer).__name__} was given a parameter of shape {tuple(shape)} after "
                "the others had been shared out: give it all of them from the start, those that "
                "are to wait frozen"
            )

    handles: list[Any] = [Watch(module, "zero_grad", forget)]
    for optimizer in optimizers:
        handles.append(Watch(optimizer, "zero_grad", partial(forget, optimizer)))
        handles.append(optimizer.register_step_pre_hook(refuse_others))
    return handles
