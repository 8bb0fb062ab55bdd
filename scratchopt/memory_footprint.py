"""The memory that training a model takes, before it is tried."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scratchopt.optimizer import Optimizer


class Memory(NamedTuple):
    """Bytes by purpose. Activations and temporaries are not among them."""

    parameters: int
    gradients: int
    state: int
    lookahead: int = 0  # the copy of θ that NAG keeps while it is ahead

    @property
    def total(self) -> int:
        """The bytes of all purposes together."""
        return sum(self)

    def __str__(self) -> str:
        parts = ", ".join(f"{_readable(n)} {name}" for name, n in self._asdict().items() if n)
        return f"{_readable(self.total)} ({parts})"


def memory(
    model: nn.Module | Iterable[Tensor],
    optimizer: type[torch.optim.Optimizer],
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> Memory:
    """Bytes of parameters, gradients and optimizer state, and of what NAG keeps to look ahead.

    The optimizer itself makes its state, on meta tensors, which have shapes and no memory. Newton's
    state is its Hessian, of n² numbers, or the five vectors of its conjugate gradients.

    Args:
        model: a module, or parameters. Those that require no gradient have none, and no
            state but Adagrad's. Tensors of torch's meta device will do.
        optimizer: a class of ours, or one of torch's that takes such a step by itself.
        dtype: of parameters, gradients and state; None, the model's own.
        settings: of the optimizer, where they decide what it keeps, such as amsgrad=True.

    Reference: the table of the article *Optimizers From Scratch*: with momentum 1,000 parameters
    in FP16 take 6 kB, and 10⁹ take 6 GB.

    >>> from scratchopt import Momentum
    >>> print(memory([nn.Parameter(torch.empty(1000))], Momentum, torch.float16))
    6.0 kB (2.0 kB parameters, 2.0 kB gradients, 2.0 kB state)
    """
    tensors = model.parameters() if isinstance(model, nn.Module) else model
    ghosts = [
        nn.Parameter(torch.empty_like(p, dtype=dtype, device="meta"), requires_grad=p.requires_grad)
        for p in tensors
    ]
    trained = [p for p in ghosts if p.requires_grad]
    instance = optimizer(ghosts, **settings)  # type: ignore[call-arg]  # a subclass's own
    if isinstance(instance, Optimizer):
        state = instance.state_bytes()
    else:
        for p in trained:
            p.grad = torch.empty_like(p)
        instance.step()
        kept = [value for values in instance.state.values() for value in values.values()]
        state = sum(value.nbytes for value in kept if isinstance(value, Tensor))
    gradients = sum(p.nbytes for p in trained)
    ahead = isinstance(instance, Optimizer) and instance.gradient_point is not None
    copy = gradients if ahead else 0
    return Memory(sum(p.nbytes for p in ghosts), gradients, state, copy)


def _readable(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < 4:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"
