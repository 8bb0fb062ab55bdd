"""The driver of rules that need whole tensors: one parameter at a time, with all of torch.

Before its first step a rule is tried on copies, so that one that breaks a law has changed nothing.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

from scratchopt.engine.buckets import Bucket
from scratchopt.engine.eager import with_wider
from scratchopt.engine.laws import WRITES_G
from scratchopt.engine.operations import RuleError
from scratchopt.engine.update import Numbers, Update, label_of, number_names, of_each

# Steps at which a rule is tried, until each tensor has changed: some change now and then, such as
# every tenth step. 5040 = 7! is a multiple of all numbers to 10.
TRIED = (1, 2, 10, 100, 1000, 5040)
_PLAIN = Tensor, Parameter
_HELD: set[Any] = set()  # updates, with the kinds of tensors on which they held the laws


def whole_tensors(bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """Plain tensors, one parameter after another; what is sharded is put together before."""
    update = bucket.update
    each = of_each(numbers, len(grads))
    rows = list(zip(bucket.params, grads, bucket.states, each, strict=True))
    rows = [row for row in rows if row[0].numel()]  # where there is nothing a mean is NaN
    for p, g, state, own in rows:
        # Shards apart, so that all processes try a rule together, whatever one did alone before.
        kind = (update, p.shape, p.dtype, p.device, getattr(p, "placements", None))
        if kind not in _HELD:
            check_laws(update, [_whole(t) for t in _row(update, p, g, state)], own)
            _HELD.add(kind)
    for p, g, state, own in rows:
        if torch.is_grad_enabled():
            _run_for_autograd(update, p, g, state, own)
            continue
        row = _row(update, p, g, state)
        wholes = row if type(p) in _PLAIN else [_whole(t) for t in row]
        _run(update, wholes, own)
        if wholes is not row:
            for t, whole in zip(row, wholes, strict=True):
                if t is not g and t is not whole:
                    _write_part(t, whole)


def check_laws(update: Update, row: list[Any], numbers: Numbers) -> None:
    """Tries a rule on copies: it must change p and each buffer in place, at some step, and never g.

    Args:
        update: of the rule.
        row: p, g, the buffers and perhaps their compensations; None where p needs no such buffer.
        numbers: of the first step.

    Raises:
        RuleError: a law that it breaks.
    """
    count = 2 + len(update.keys)
    tensors: list[Any] = [None if t is None else t.detach().clone() for t in row[:count]]
    own = {name: numbers[name] for name in number_names(update.rule)}
    left = {i for i, t in enumerate(tensors) if t is not None and i != 1}
    devices = [tensors[0].device] if tensors[0].is_cuda else []
    read = _RefuseReads(update) if update.options.differentiable else nullcontext()
    with torch.no_grad(), torch.random.fork_rng(devices), read:
        for step in (own.get("t", 1), *TRIED):
            if "t" in own:
                own["t"] = torch.full_like(own["t"], step) if torch.is_tensor(own["t"]) else step
            before = [t if t is None else t._version for t in tensors]
            update.rule(*tensors, **own)
            if tensors[1]._version != before[1]:
                raise RuleError(f"{label_of(update.rule)}: {WRITES_G}")
            left -= {i for i in left if tensors[i]._version != before[i]}
            if not left:
                return
            tensors[1].normal_()  # that of the first step may be zero
    if update.made:  # the numbers of other steps are not known here
        return
    name = ("p", "g", *update.keys)[min(left)]
    raise RuleError(
        f"{label_of(update.rule)}: a rule must change {name} in place, as in `m *= 0.9; m += g`; "
        f"this one has not, at any of the steps {', '.join(map(str, TRIED))}"
    )


class _RefuseReads(TorchFunctionMode):
    """Refuses what makes a number of a tensor, as a derivative ends there without a word."""

    def __init__(self, update: Update) -> None:
        super().__init__()
        self._label = label_of(update.rule)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.item, Tensor.tolist, Tensor.__float__, Tensor.__int__, Tensor.numpy):
            raise RuleError(
                f"{self._label} makes a number of a tensor, by {func.__name__}(), and autograd "
                "does not go through it: leave differentiable=True out"
            )
        return func(*args, **(kwargs or {}))


def _row(update: Update, p: Tensor, g: Tensor, state: dict[str, Any]) -> list[Any]:
    return [p, g, *(state.get(key) for key in update.all_keys)]


def _run(update: Update, row: list[Any], numbers: Numbers) -> None:
    """Runs an update on p, g, the buffers and the compensations; None stays None."""
    if not update.options.compensated:
        update.apply(*row, **numbers)
        return
    count = 2 + len(update.keys)
    there = [i for i in range(count) if row[i] is not None]

    def apply(*tensors: Tensor) -> None:
        given = dict(zip(there, tensors, strict=True))
        update.apply(*(given.get(i) for i in range(count)), **numbers)

    with_wider(apply, [t for t in row if t is not None])


def _run_for_autograd(
    update: Update, p: Tensor, g: Tensor, state: dict[str, Any], numbers: Numbers
) -> None:
    """Runs an update as if each line made a new tensor: a derivative may need the old one."""
    keys = [key for key in update.keys if key in state]

    def move(p: Tensor, g: Tensor, *buffers: Tensor) -> tuple[Tensor, ...]:
        p, *own = (t.clone() for t in (p, *buffers))
        given = dict(zip(keys, own, strict=True))
        update.apply(p, g, *(given.get(key) for key in update.keys), **numbers)
        return p, *own

    new, *buffers = torch.func.functionalize(move)(p, g, *(state[key] for key in keys))
    p.copy_(new)
    state.update(zip(keys, buffers, strict=True))


def _whole(tensor: Any) -> Any:
    """A tensor, put together where each process has a part of it (DTensor)."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _write_part(sharded: Any, whole: Tensor) -> None:
    """Writes this process's part of a whole tensor back, without communication."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh = sharded.device_mesh
    everywhere = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    part = everywhere.redistribute(placements=sharded.placements)
    sharded.to_local().copy_(part.to_local())
