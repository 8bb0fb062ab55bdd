"""The memory that training a model takes: before it is tried, and as it was."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from scratchopt.optimizer import Optimizer
from scratchopt.zero import STAGES, Stage1, Stage2, Stage3
from scratchopt.zero.data_parallel import BUCKET_BYTES
from scratchopt.zero.imagined import Imagined


class Memory(NamedTuple):
    """Bytes by purpose, in one process. Activations and temporaries are not among them."""

    parameters: int
    gradients: int
    state: int
    lookahead: int = 0  # the copy of θ that is kept while NAG, or Schedule-Free, is ahead
    padding: int = 0  # of ZeRO's buffers of parameters and gradients, which are of equal segments

    @property
    def total(self) -> int:
        """The bytes of all purposes together."""
        return sum(self)

    def __str__(self) -> str:
        return describe_bytes(self._asdict())


def memory(
    model: nn.Module | Iterable[Tensor],
    optimizer: type[torch.optim.Optimizer],
    dtype: torch.dtype | None = None,
    *,
    stage: int = 0,
    processes: int = 1,
    rank: int | None = None,
    bucket_bytes: int = BUCKET_BYTES,
    **settings: Any,
) -> Memory:
    """Bytes of parameters, gradients and optimizer state, and of what a lookahead keeps.

    The optimizer itself makes its state, on meta tensors, which have shapes and no memory. Newton's
    state is its Hessian, of n² numbers, or the five vectors of its conjugate gradients.

    Of several processes it is what one has at rest, after a backward pass and before the step. With
    Ψ bytes of parameters, K of state, N processes, and but for padding:

    =====  ==========  =========  ===========================  =====
    stage  parameters  gradients  state, and lookahead's copy  peak
    =====  ==========  =========  ===========================  =====
    0      Ψ           Ψ          K
    1      Ψ           Ψ          K/N
    2      Ψ           Ψ/N        K/N                          a bucket of each group
    3      Ψ/N         Ψ/N        K/N                          parameters and gradient of a unit
    =====  ==========  =========  ===========================  =====

    Stage 0 is data parallelism, the others are ZeRO's (`scratchopt.zero`), whose own layouts are
    made, on meta tensors too. Where tensors stay whole, as Muon's, a process has some of them in
    place of a share, and in stage 1 no bucket of gradients at rest of which it updates nothing.

    The last column says what a backward pass has at its peak besides; in each stage there is also
    the one gradient that autograd has just made. In stage 3 what is in no list is whole while the
    model computes, its gradient until the backward pass ends, and a frozen parameter, too.

    Args:
        model: a module, or parameters. Those that require no gradient have none, and no
            state but Adagrad's. Tensors of torch's meta device will do.
        optimizer: a class of ours, or one of torch's that takes such a step by itself.
        dtype: of parameters, gradients and state; None, the model's own.
        stage: 0, 1, 2 or 3.
        processes: that train together, >= 1.
        rank: of the process, from 0; None, that which has most.
        bucket_bytes: as stage 1 and 2 have it.
        settings: of the optimizer, where they decide what it keeps, such as amsgrad=True.

    Raises:
        TypeError: an optimizer in place of its class.
        ValueError: a stage, a number of processes or a rank that there is not; an optimizer of
            somebody else's that takes no step on tensors without memory, as it needs a closure,
            sparse gradients, or looks at values.
        RuntimeError: in stages 1 to 3, what these refuse, such as Newton.

    Reference: the table of the article *Optimizers From Scratch*: with momentum 1,000 parameters
    in FP16 take 6 kB, and 10⁹ take 6 GB. Rajbhandari et al., "ZeRO: Memory Optimizations Toward
    Training Trillion Parameter Models", arXiv:1910.02054, figure 1: 7.5·10⁹ parameters and Adam
    take 120, 31.4, 16.6, 1.9 GB in 64 processes, in mixed precision: 2 bytes of a parameter, 2 of
    its gradient, and 12 of state, with a float32 copy of it. Adam here, in float32, has 4, 4 and 8:
    as many in stages 0 and 3, and more between them.

    >>> from scratchopt import Adam, Momentum
    >>> print(memory([nn.Parameter(torch.empty(1000))], Momentum, torch.float16))
    6.0 kB (2.0 kB parameters, 2.0 kB gradients, 2.0 kB state)
    >>> model = [nn.Parameter(torch.empty(7_500_000_000, device="meta"))]
    >>> for stage in range(4):
    ...     print(memory(model, Adam, stage=stage, processes=64))
    120.0 GB (30.0 GB parameters, 30.0 GB gradients, 60.0 GB state)
    60.9 GB (30.0 GB parameters, 30.0 GB gradients, 937.5 MB state)
    31.4 GB (30.0 GB parameters, 468.8 MB gradients, 937.5 MB state)
    1.9 GB (468.8 MB parameters, 468.8 MB gradients, 937.5 MB state)
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        name = type(optimizer).__name__
        raise TypeError(f"{name} has been made already: give its class, memory(model, {name})")
    if stage not in (0, *STAGES):
        raise ValueError(f"Invalid stage: {stage} (0, 1, 2 or 3)")
    if processes < 1:
        raise ValueError(f"Invalid number of processes: {processes} (>= 1)")
    if rank is not None and not 0 <= rank < processes:
        raise ValueError(f"Invalid rank: {rank} (0 <= rank < {processes} processes)")
    settings |= {name: None for name in ("foreach", "fused") if name in settings}  # need a device
    found = []
    for each in (range(processes) if rank is None else [rank]) if stage else [0]:
        ghost = _make_ghost(model, dtype)
        instance = optimizer(ghost.parameters(), **settings)  # type: ignore[call-arg]  # a subclass's own
        cut = None
        if stage:
            cut = STAGES[stage](ghost, [instance], Imagined(each, processes), bucket_bytes)
        if not isinstance(instance, Optimizer):
            _take_step(instance)
        found.append(_count(list(ghost.parameters()), [instance], cut))
    return max(found, key=lambda each: each.total)


def measure_memory(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    stage: Stage1 | None = None,
) -> Memory | None:
    """Measures the memory of a training whose optimizers have taken a step, in this process.

    Args:
        model: a module. Parameters without a shape, of lazy layers never used, are not counted.
        optimizers: of its parameters. Of ours a step is not needed.
        stage: of ZeRO, that shares them out; None, none does.

    Returns:
        The bytes; None, where an optimizer has no state since it has taken no step.
    """
    if not all(isinstance(o, Optimizer) or o.state for o in optimizers):
        return None
    return _count([p for p in model.parameters() if not is_lazy(p)], optimizers, stage)


def _make_ghost(model: nn.Module | Iterable[Tensor], dtype: torch.dtype | None) -> nn.Module:
    """A module of the same parts, whose parameters have no memory, and which can't compute."""
    ghosts: dict[int, nn.Parameter] = {}
    parts: dict[int, nn.Module] = {}

    def ghost_of(p: Tensor) -> nn.Parameter:
        if id(p) not in ghosts:
            data = torch.empty_like(p, dtype=dtype, device="meta")
            ghosts[id(p)] = nn.Parameter(data, requires_grad=p.requires_grad)
        return ghosts[id(p)]

    def part_of(module: nn.Module) -> nn.Module:
        if id(module) not in parts:
            is_list = isinstance(module, nn.Sequential | nn.ModuleList)  # whose elements are units
            part = parts[id(module)] = nn.ModuleList() if is_list else nn.Module()
            for name, p in module._parameters.items():
                part.register_parameter(name, p if p is None else ghost_of(p))
            for name, child in module._modules.items():
                part.add_module(name, child if child is None else part_of(child))
        return parts[id(module)]

    if isinstance(model, nn.Module):
        return part_of(model)
    return nn.ParameterList([ghost_of(p) for p in model])


def _take_step(optimizer: torch.optim.Optimizer) -> None:
    """Takes a step on tensors without memory.

    Raises:
        ValueError: the optimizer can't.
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.requires_grad:
                p.grad = torch.empty_like(p)
    try:
        optimizer.step()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{type(optimizer).__name__} takes no step on tensors without memory, so that what it "
            f"keeps is not known before it trains: {type(error).__name__}: {reason}"
        ) from error


def _count(
    parameters: list[Any],
    optimizers: Sequence[torch.optim.Optimizer],
    stage: Stage1 | None,
) -> Memory:
    state = sum(o.state_bytes() if isinstance(o, Optimizer) else _sum(o.state) for o in optimizers)
    ahead = any(isinstance(o, Optimizer) and o.gradient_point is not None for o in optimizers)
    if stage is None:
        gradients = sum(p.nbytes for p in parameters if p.requires_grad)
        copy = gradients if ahead else 0
        return Memory(sum(p.nbytes for p in parameters), gradients, state, copy)
    held = padding = gradients = updated = 0
    for bucket in stage.buckets:
        whole = sum(bucket.layout.sizes) * bucket.values.element_size()
        own = sum(piece.nbytes for piece in bucket.pieces)
        spare, own_spare = bucket.values.nbytes - whole, bucket.mine.nbytes - own
        held += own if isinstance(stage, Stage3) else whole
        padding += own_spare if isinstance(stage, Stage3) else spare
        if bucket.trains and own:  # else none of it stays
            gradients += own if isinstance(stage, Stage2) else whole
            padding += own_spare if isinstance(stage, Stage2) else spare
            updated += own
    shared = {id(p) for bucket in stage.buckets for p in bucket.parameters}
    held += sum(p.nbytes for p in parameters if id(p) not in shared)  # that no optimizer has
    return Memory(held, gradients, state, updated if ahead else 0, padding)


def _sum(state: Any) -> int:
    """Bytes of the tensors in a state, however deep."""
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(map(_sum, state.values()))
    return sum(map(_sum, state)) if isinstance(state, list | tuple) else 0


def describe_bytes(parts: Mapping[str, int]) -> str:
    """Describes bytes and their parts, but for empty ones: `6.0 kB (2.0 kB state, ...)`."""
    listed = ", ".join(f"{_readable(n)} {name}" for name, n in parts.items() if n)
    return f"{_readable(sum(parts.values()))} ({listed})"


def _readable(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < 4:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"
