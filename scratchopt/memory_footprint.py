"""The memory that training a model takes: before it is tried, and as it was."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from scratchopt.optimizer import Optimizer


class Memory(NamedTuple):
    """Bytes by purpose. Activations and temporaries are not among them."""

    parameters: int
    gradients: int
    state: int
    lookahead: int = 0  # the copy of θ that is kept while NAG, or Schedule-Free, is ahead

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
    """Bytes of parameters, gradients and optimizer state, and of what a lookahead keeps.

    The optimizer itself makes its state, on meta tensors, which have shapes and no memory. Newton's
    state is its Hessian, of n² numbers, or the five vectors of its conjugate gradients.

    Args:
        model: a module, or parameters. Those that require no gradient have none, and no
            state but Adagrad's. Tensors of torch's meta device will do.
        optimizer: a class of ours, or one of torch's that takes such a step by itself.
        dtype: of parameters, gradients and state; None, the model's own.
        settings: of the optimizer, where they decide what it keeps, such as amsgrad=True.

    Raises:
        ValueError: an optimizer of somebody else's that takes no step on tensors without memory, as
            it needs a closure, sparse gradients, or looks at values.

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
    settings |= {name: None for name in ("foreach", "fused") if name in settings}  # need a device
    instance = optimizer(ghosts, **settings)  # type: ignore[call-arg]  # a subclass's own
    if not isinstance(instance, Optimizer):
        _take_step(instance, trained)
    return _count(ghosts, [instance])


def measure_memory(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Memory | None:
    """Measures the memory of a training whose optimizers have taken a step.

    Args:
        model: a module. Parameters without a shape, of lazy layers never used, are not counted.
        optimizers: of its parameters. Of ours a step is not needed.

    Returns:
        The bytes; None, where an optimizer has no state since it has taken no step.
    """
    if not all(isinstance(o, Optimizer) or o.state for o in optimizers):
        return None
    return _count([p for p in model.parameters() if not is_lazy(p)], optimizers)


def _take_step(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    for p in parameters:
        p.grad = torch.empty_like(p)
    try:
        optimizer.step()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{type(optimizer).__name__} takes no step on tensors without memory, so that what it "
            f"keeps is not known before it trains: {type(error).__name__}: {reason}"
        ) from error


def _count(parameters: list[Any], optimizers: Sequence[torch.optim.Optimizer]) -> Memory:
    gradients = sum(p.nbytes for p in parameters if p.requires_grad)
    ahead = any(isinstance(o, Optimizer) and o.gradient_point is not None for o in optimizers)
    state = sum(o.state_bytes() if isinstance(o, Optimizer) else _sum(o.state) for o in optimizers)
    copy = gradients if ahead else 0
    return Memory(sum(p.nbytes for p in parameters), gradients, state, copy)


def _sum(state: Any) -> int:
    """Bytes of the tensors in a state, however deep."""
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(map(_sum, state.values()))
    return sum(map(_sum, state)) if isinstance(state, list | tuple) else 0


def _readable(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < 4:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"
