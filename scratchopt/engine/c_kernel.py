"""A rule as a loop in C, for tensors where they lie: one call serves all of them.

torch.compile's kernels take one tensor, or a program as long as the list. For 600 small tensors
the first is mostly overhead and the second takes a minute to compile; this takes a third of a
second, and no memory moves.
"""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from array import array
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from scratchopt.engine.buckets import Bucket, are_disjoint
from scratchopt.engine.c_source import DTYPES, write_source
from scratchopt.engine.program import Program

FLAGS = [
    *("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-shared", "-fPIC", "-xc", "-"),
]


class CKernel:
    """A rule's operations, made a loop by the machine's C compiler.

    Args:
        program: what the rule does.
        dtype: of the tensors.
        compensated: whether the tensors that it writes are sums of two.

    Raises:
        RuntimeError: no compiler, or one that fails, or a dtype that it does not know.
    """

    def __init__(self, program: Program, dtype: torch.dtype, compensated: bool) -> None:
        if dtype not in DTYPES:
            raise RuntimeError(f"fused=True does not support {dtype} on a CPU: use foreach=True")
        self._run = _built(write_source(program, dtype, compensated))
        self._dtype, self._written = dtype, program.written(compensated)

    def __call__(
        self, bucket: Bucket, columns: list[list[Tensor]], factors: tuple[float, ...]
    ) -> None:
        """Runs the kernel on the columns p, g, buffers and compensations."""
        p, g, *others = (list(map(Tensor.data_ptr, column)) for column in columns)
        if 0 in g or 0 in p:
            _refuse_freed(columns[:2])
        layout = bucket.layout
        if layout is None or layout.addresses != [p, *others] or not layout.fits(columns):
            layout = bucket.layout = Layout(columns, [p, *others], self._dtype)
        if layout.straight and all(map(Tensor.is_contiguous, columns[1])):
            self._call(layout.sizes, [*p, *g, *chain.from_iterable(others)], factors)
        elif layout.apart:
            self._detour(columns, factors)
        else:
            for row in zip(*columns, strict=True):
                self._detour([[tensor] for tensor in row], factors)
        for i in self._written:
            if i != 1:  # a copy of θ, of which nobody else knows
                increment_version(columns[i])  # autograd then knows, as of any operation

    def _call(self, sizes: Any, addresses: list[int], factors: tuple[float, ...]) -> None:
        arrays = sizes, array("Q", addresses), array("d", factors)
        self._run(len(sizes), *(a.buffer_info()[0] for a in arrays), torch.get_num_threads())

    def _detour(self, columns: list[list[Tensor]], factors: tuple[float, ...]) -> None:
        """Runs on copies of tensors that do not lie in memory as their parameter does."""
        straight, changed = [[] for _ in columns], []
        for row in zip(*columns, strict=True):
            strides = torch.empty_like(row[0], device="meta").stride()  # p's, if p has no gaps
            for i, tensor in enumerate(row):
                copy = tensor
                if tensor.stride() != strides or tensor.is_neg():
                    copy = torch.empty_strided(tensor.shape, strides, dtype=self._dtype)
                    copy.copy_(tensor)
                    if i in self._written:
                        changed.append((tensor, copy))
                straight[i].append(copy)
        sizes = array("q", map(Tensor.numel, straight[0]))
        self._call(sizes, list(map(Tensor.data_ptr, chain.from_iterable(straight))), factors)
        for tensor, copy in changed:
            tensor.copy_(copy)


def _refuse_freed(columns: list[list[Tensor]]) -> None:
    if any(t.numel() and not t.data_ptr() for column in columns for t in column):
        raise RuntimeError("the memory of a parameter or of its gradient was freed")


class Layout:
    """How a bucket's tensors lie in memory, while they are where they are.

    Args:
        columns: p, g, and what else the kernel writes.
        addresses: of all but the gradients.
        dtype: the kernel's.

    Raises:
        RuntimeError: tensors that belong together and differ in size, or are not on the CPU.
    """

    def __init__(
        self, columns: list[list[Tensor]], addresses: list[list[int]], dtype: torch.dtype
    ) -> None:
        self.addresses = addresses
        self.sizes = array("q", map(Tensor.numel, columns[0]))
        if any(array("q", map(Tensor.numel, column)) != self.sizes for column in columns):
            raise RuntimeError("a parameter and its gradient or state differ in size")
        if any(tensor.device.type != "cpu" for column in columns for tensor in column):
            raise RuntimeError("a parameter and its gradient or state are on different devices")
        for tensor in chain.from_iterable(columns):
            if tensor.dtype is not dtype:
                raise RuntimeError(
                    f"fused=True has a parameter of {dtype} with a gradient or state of "
                    f"{tensor.dtype}: make the optimizer after the conversion"
                )
        self.apart = are_disjoint([*columns[0], *chain.from_iterable(columns[2:])])
        self.straight = self.apart and all(
            tensor.is_contiguous() and not tensor.is_neg()
            for column in (columns[0], *columns[2:])
            for tensor in column
        )

    def fits(self, columns: list[list[Tensor]]) -> bool:
        """True if tensors at the same addresses are still the same, and so are gradients' sizes."""
        if self.straight and not all(map(Tensor.is_contiguous, columns[0])):
            return False
        return array("q", map(Tensor.numel, columns[1])) == self.sizes


def _built(source: str) -> Any:
    """The function `run` of the source, compiled and loaded."""
    named = shlex.split(os.environ.get("CC", ""))
    compiler = named or [name for name in ("cc", "gcc", "clang") if shutil.which(name)][:1]
    try:
        if not compiler:
            raise OSError("none of cc, gcc and clang is there")
        with tempfile.TemporaryDirectory() as folder:
            library = str(Path(folder) / "rule.so")
            command = [*compiler, *FLAGS, "-o", library, "-lm"]
            subprocess.run(command, input=source, check=True, capture_output=True, text=True)
            run = ctypes.CDLL(library).run
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        raise RuntimeError(
            "fused=True needs a C compiler with OpenMP: install one, set CC, or use foreach=True "
            f"({said})"
        ) from error
    run.argtypes = [ctypes.c_int64, *[ctypes.c_void_p] * 3, ctypes.c_int]
    run.restype = None
    return run
