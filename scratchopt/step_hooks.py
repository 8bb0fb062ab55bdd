"""Wrappers around `step`: torch's hooks where somebody listens, and torch.compile kept outside."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch.compiler import is_dynamo_compiling
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks


def without_idle_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` without torch's wrapper, which costs as much as a small step, while nobody listens."""
    heard = torch.optim.Optimizer.profile_hook_step(step)

    @wraps(step)
    def wrapper(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        # Read by torch.compile, or called by it.
        if is_dynamo_compiling() or get_eval_frame_callback():
            return apart(self, *args, **kwargs)
        listens = (
            torch.autograd.profiler._is_profiler_enabled
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
        )
        outermost = type(self).step is wrapper  # and not called by a subclass's
        return (heard if listens and outermost else step)(self, *args, **kwargs)

    apart = torch._disable_dynamo(wrapper)
    wrapper.hooked = True  # type: ignore[attr-defined]  # torch then leaves it alone
    return wrapper


def outside_of_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps a function out of torch.compile, also where a compiled one calls it.

    What goes on between the tensors of many parameters is Python that each step reads anew: a graph
    of it would be compiled again and again. The arithmetic is what `fused=True` compiles.
    """
    apart = torch._disable_dynamo(function)

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        compiling = is_dynamo_compiling() or get_eval_frame_callback()
        return (apart if compiling else function)(*args, **kwargs)

    return wrapper
