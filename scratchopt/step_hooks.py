"""Torch's wrapper around `step`, for its hooks and its profiler, only where somebody listens."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks


def without_idle_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` without torch's wrapper, which costs as much as a small step, while nobody listens."""
    heard = torch.optim.Optimizer.profile_hook_step(step)

    @wraps(step)
    def wrapper(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        listens = (
            torch.autograd.profiler._is_profiler_enabled
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
        )
        outermost = type(self).step is wrapper  # and not called by a subclass's
        return (heard if listens and outermost else step)(self, *args, **kwargs)

    wrapper.hooked = True  # type: ignore[attr-defined]  # torch then leaves it alone
    return wrapper
