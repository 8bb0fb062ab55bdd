"""The compiled driver: a rule as one kernel, over flat memory."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._utils import _flatten_dense_tensors
from torch.fx.proxy import GraphAppendingTracer

from scratchopt.drivers import SMALL, Bucket, Numbers, Update

# A kernel for each dtype and device: torch.compile gives up at a program's eighth variant.
_KERNELS: "dict[tuple[Update, torch.dtype, torch.device], Kernel]" = {}


def compiled(update: Update, bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
    """One kernel for the whole rule, over flat memory.

    A large tensor is updated where it lies, small ones together in a `Pack`.
    """
    kernel = _KERNELS.get(key := (update, grads[0].dtype, grads[0].device))
    if kernel is None:
        kernel = _KERNELS[key] = Kernel(update, 2 + len(bucket.keys), numbers)
    pack = bucket.pack
    if pack is None or not pack.holds(bucket):
        pack = bucket.pack = Pack(bucket, grads)
    if pack.members:
        pack.run(kernel, bucket, grads, numbers)
    if pack.others:
        columns = bucket.columns(grads)
        for i in pack.others:
            row = [column[i] for column in columns]
            if not _flat_alike(row):  # a gradient in another order than its parameter
                row[1] = torch.empty_like(row[0]).copy_(row[1])
            kernel([t.as_strided((t.numel(),), (1,)) for t in row], numbers)


class Pack:
    """The small tensors of a bucket in flat memory, one after another.

    Parameters and buffers become views of it, as in a flattened RNN or FSDP: their values stay,
    their memory moves. A parameter that shares its memory with another tensor, or with another
    process, stays where it is, and its new values are copied to it.

    Args:
        bucket: whose tensors move.
        grads: its gradients.
    """

    def __init__(self, bucket: Bucket, grads: list[Tensor]) -> None:
        columns = bucket.columns(grads)
        rows = list(zip(*columns, strict=True))
        whole = [row[0].numel() >= SMALL and _flat_alike(row[:1] + row[2:]) for row in rows]
        self.members = [i for i, row in enumerate(rows) if not whole[i] and row[0].numel()]
        self.others = [i for i, is_whole in enumerate(whole) if is_whole]
        self.flats: list[Tensor] = []
        self.homes: list[list[int]] = []  # addresses of the views, buffer by buffer
        if not self.members:
            return
        params = [columns[0][i] for i in self.members]
        self.sizes = [p.numel() for p in params]
        self.whole = len(self.members) == len(rows)
        self.settled = all(_movable(bucket.params[i]) for i in self.members)
        for key, column in zip([None, *bucket.keys], [columns[0], *columns[2:]], strict=True):
            flat = params[0].new_empty(sum(self.sizes))
            views = [v.view_as(p) for v, p in zip(flat.split(self.sizes), params, strict=True)]
            torch._foreach_copy_(views, [column[i] for i in self.members])
            for i, view in zip(self.members, views, strict=True):
                home = torch.view_as_complex(view) if bucket.params[i].is_complex() else view
                if key is not None:
                    bucket.states[i][key] = home
                elif self.settled:
                    bucket.params[i].data = home
            self.flats.append(flat)
            self.homes.append([view.data_ptr() for view in views])
            if key is None:
                self.views = views

    def holds(self, bucket: Bucket) -> bool:
        """Whether the tensors are where the pack has put them."""
        if not self.members:
            return True
        columns = [[bucket.states[i][key] for i in self.members] for key in bucket.keys]
        if self.settled:
            columns.append([bucket.params[i] for i in self.members])
        homes = [*self.homes[1:], self.homes[0]]
        return all(
            [t.data_ptr() for t in column] == home
            for column, home in zip(columns, homes, strict=False)
        )

    def run(self, kernel: "Kernel", bucket: Bucket, grads: list[Tensor], numbers: Numbers) -> None:
        """Updates the members."""
        if not self.whole:
            grads = [grads[i] for i in self.members]
        if bucket.params[0].is_complex():
            grads = [torch.view_as_real(g) for g in grads]
        flat_g = _flatten_dense_tensors(grads)
        flat_p, *buffers = self.flats
        if self.settled:
            kernel([flat_p, flat_g, *buffers], numbers)
            return
        params = [bucket.params[i] for i in self.members]
        if params[0].is_complex():
            params = [torch.view_as_real(p) for p in params]
        flat_p.copy_(_flatten_dense_tensors(params))
        kernel([flat_p, flat_g, *buffers], numbers)
        torch._foreach_copy_(params, self.views)


def _movable(p: Tensor) -> bool:
    """Whether nobody else sees the memory of p."""
    return (
        type(p) in (Tensor, torch.nn.Parameter)
        and not p.is_shared()
        and p.untyped_storage().nbytes() == p.numel() * p.element_size()
    )


class Kernel:
    """A rule in two parts: arithmetic of its numbers, done in Python, and of its tensors, compiled.

    Left in the kernel, a factor such as √(1 − β₂ᵗ) would be computed anew for every element. The
    parts meet in 0-dim tensors: for torch.compile a new Python number would be a new program.

    Args:
        update: takes tensors, and numbers by name.
        arity: how many tensors.
        numbers: such as it will be called with: numbers, and tuples of them.
    """

    def __init__(self, update: Update, arity: int, numbers: Numbers) -> None:
        whole = fx.Graph()
        tracer = _Tracer(whole)
        inputs = [whole.placeholder(f"tensor{i}") for i in range(arity)]
        numeric = [whole.placeholder(f"number{i}") for i in range(len(_leaves(numbers)))]
        proxies = iter([_Proxy(node, tracer) for node in numeric])
        update(
            *(_Proxy(node, tracer) for node in inputs),
            **{
                name: tuple(next(proxies) for _ in value)
                if isinstance(value, tuple)
                else next(proxies)
                for name, value in numbers.items()
            },
        )
        scalar, tensorial = set(numeric), []
        for node in whole.nodes:
            if node.op == "placeholder":
                continue
            if scalar.issuperset(node.all_input_nodes):
                scalar.add(node)
            else:
                tensorial.append(node)
        used = {n: None for node in tensorial for n in node.all_input_nodes if n in scalar}
        self._arithmetic = _program(numeric, [n for n in whole.nodes if n in scalar], list(used))
        self._tensors = torch.compile(
            _program([*inputs, *used], tensorial, []), dynamic=True, fullgraph=True
        )

    def __call__(self, tensors: Sequence[Tensor], numbers: Numbers) -> None:
        """Runs the rule on flat tensors of equal length."""
        factors = [
            torch.tensor(f, dtype=torch.float64) for f in self._arithmetic(*_leaves(numbers))
        ]
        try:
            self._tensors(*tensors, *factors)
        except RuntimeError as error:
            from torch._dynamo.exc import TorchDynamoException  # a second's import, where it is new

            if not isinstance(error, TorchDynamoException):
                raise
            reason = str(error).strip().splitlines()[0]
            raise RuntimeError(
                "fused=True needs torch.compile and a working C++ compiler: use foreach=True, or "
                f"set CXX ({reason})"
            ) from error


class _Tracer(GraphAppendingTracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


class _Proxy(fx.Proxy):
    """fx's own takes `p -= d` for `p = p - d`, which would leave the tensor alone."""

    def _in_place(self, operation: Any, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> fx.Proxy:
        return self._in_place(operator.imul, other)


def _leaves(numbers: Numbers) -> list[float]:
    several = [value if isinstance(value, tuple) else (value,) for value in numbers.values()]
    return [float(number) for value in several for number in value]


def _program(inputs: list[fx.Node], nodes: list[fx.Node], outputs: list[fx.Node]) -> Any:
    """A function of the inputs that runs the nodes in order and returns the outputs."""
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for node in nodes:
        if node not in copies:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    return fx.GraphModule(torch.nn.Module(), graph)


def _flat_alike(row: Sequence[Tensor]) -> bool:
    """Whether the tensors lie in memory without gaps, and in the same order."""
    return all(t.is_contiguous() for t in row) or (
        row[0].dim() == 4 and all(t.is_contiguous(memory_format=torch.channels_last) for t in row)
    )
