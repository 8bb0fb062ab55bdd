"""The compiled driver: a rule as one kernel, which reads and writes every number once."""

import sys
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors
from torch.nn import Parameter

from scratchopt.engine.buckets import Bucket, are_disjoint
from scratchopt.engine.c_kernel import CKernel
from scratchopt.engine.eager import with_wider
from scratchopt.engine.program import Program, flatten_numbers
from scratchopt.engine.update import Numbers

SMALL = 2**16  # elements: below it a kernel's call costs more than its work, so they share one
_KERNELS: dict[Any, Any] = {}


def compiled(bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """One kernel for the whole rule: C on a CPU under Linux, elsewhere torch.compile's."""
    flat = flatten_numbers(numbers)
    arithmetic, run = bucket.kernel or _choose(bucket, flat)
    factors = arithmetic(*flat)
    if factors is None:  # the rule branches on its numbers, and they go another way now
        arithmetic, run = _choose(bucket, flat)
        factors = arithmetic(*flat)
    if any(map(Tensor.is_neg, grads)):  # whose memory has the negative
        grads = [g.resolve_neg() for g in grads]
    columns = bucket.columns(grads)
    if not bucket.is_plain:
        bucket.is_plain = all(type(t) in (Tensor, Parameter) for column in columns for t in column)
    if not bucket.is_plain:
        columns = [[_local(t) for t in column] for column in columns]
    run(bucket, columns, factors)


def _choose(bucket: Bucket, numbers: list[float]) -> Any:
    """Chooses the arithmetic and the kernel, by the way that the numbers go through the rule."""
    for program in bucket.programs:
        if program.arithmetic(*numbers) is not None:
            bucket.kernel = program.arithmetic, _kernel(bucket, program)
            return bucket.kernel
    raise RuntimeError(f"fused=True has no program of the rule for the numbers {numbers}")


def _local(tensor: Any) -> Tensor:
    """The memory that a kernel may work on: the tensor, or this process's part of a DTensor."""
    if type(tensor) in (Tensor, Parameter):
        return tensor
    if not hasattr(tensor, "to_local"):
        raise RuntimeError(f"fused=True does not support {type(tensor).__name__}: use foreach=True")
    return tensor.to_local()


def _kernel(bucket: Bucket, program: Program) -> Any:
    """The kernel of a program, made once for a dtype and device."""
    p, compensated = bucket.params[0], bucket.update.options.compensated
    key = (program, p.dtype, p.device, compensated)
    if key not in _KERNELS:
        if runs_c(p.device):
            dtype = p.dtype.to_real() if p.is_complex() else p.dtype
            _KERNELS[key] = CKernel(program, dtype, compensated)
        else:
            _KERNELS[key] = TorchKernel(program, compensated)
    return _KERNELS[key]


def runs_c(device: torch.device) -> bool:
    """True if kernels on a device are in C; that of a move then keeps θ itself."""
    return device.type == "cpu" and sys.platform == "linux"


class TorchKernel:
    """A rule's operations as torch.compile makes them one kernel.

    It is made for flat memory of any length: a large tensor is updated where it lies, small ones
    are gathered, updated and written back. Factors come as 0-dim tensors, for a new Python number
    would be a new program.

    Args:
        program: what the rule does.
        compensated: whether the tensors that it writes are sums of two.
    """

    def __init__(self, program: Program, compensated: bool) -> None:
        self._compiled = torch.compile(program.function(), dynamic=True, fullgraph=True)
        self._written = program.written(compensated)

    def __call__(
        self, bucket: Bucket, columns: list[list[Tensor]], factors: tuple[float, ...]
    ) -> None:
        """Runs the kernel on the columns p, g, buffers and compensations."""
        scalars = [torch.tensor(f, dtype=torch.float64) for f in factors]
        rows = list(zip(*columns, strict=True))
        if bucket.layout is None:
            bucket.layout = are_disjoint([*columns[0], *chain.from_iterable(columns[2:])])
        large = [row[0].numel() >= SMALL and _flat_alike(row) for row in rows]
        for row, is_large in zip(rows, large, strict=True):
            if is_large:
                flats = [t.detach().as_strided((t.numel(),), (1,), t.storage_offset()) for t in row]
                self._run(bucket, flats, scalars)
        small = [row for row, is_large in zip(rows, large, strict=True) if not is_large]
        for few in [small] if bucket.layout else [[row] for row in small]:
            if any(row[0].numel() for row in few):
                self._gathered(bucket, [list(column) for column in zip(*few, strict=True)], scalars)

    def _gathered(self, bucket: Bucket, columns: list[list[Tensor]], scalars: list[Tensor]) -> None:
        flats = [_flatten_dense_tensors(column) for column in columns]
        self._run(bucket, flats, scalars)
        sizes = [p.numel() for p in columns[0]]
        for i in self._written:
            parts = flats[i].split(sizes)
            views = [part.view(t.shape) for part, t in zip(parts, columns[i], strict=True)]
            torch._foreach_copy_(columns[i], views)

    def _run(self, bucket: Bucket, flats: list[Tensor], scalars: list[Tensor]) -> None:
        def work(*tensors: Tensor) -> None:
            self._compiled(*tensors, *scalars)

        try:
            with_wider(work, flats) if bucket.update.options.compensated else work(*flats)
        except RuntimeError as error:
            from torch._dynamo.exc import TorchDynamoException  # a second's import, where it is new

            if not isinstance(error, TorchDynamoException):
                raise
            reason = str(error).strip().splitlines()[-1]
            raise RuntimeError(
                f"fused=True needs torch.compile, which fails here: use foreach=True ({reason})"
            ) from error


def _flat_alike(row: Any) -> bool:
    """True if the tensors lie in memory without gaps, and in the same order."""
    return all(t.is_contiguous() for t in row) or (
        row[0].dim() == 4 and all(t.is_contiguous(memory_format=torch.channels_last) for t in row)
    )
