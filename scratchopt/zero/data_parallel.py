"""Data parallelism by hand: each process has its own batches, and gradients are averaged (DDP)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import Parameter

from scratchopt.zero.bucket import Bucket
from scratchopt.zero.grouping import Part, check, refuse_differences, split_by_kind
from scratchopt.zero.processes import Processes, Works, wait_for
from scratchopt.zero.watch import parameters_of, watch

BUCKET_BYTES = 25 * 2**20  # as DDP has it: large enough that sending takes longer than starting to


class DataParallel:
    """Averages gradients over all processes; all else each process does as if it were alone.

    g = Σᵣ gᵣ / N, with gᵣ the gradient of process r's batch. All start from the parameters and
    buffers of the first process, so after each step all have the same parameters.

    Gradients are gathered in buckets, in the order in which a backward pass brings them, the last
    layer's first. Each bucket that is full is on its way while the pass goes on.

    Make it after the optimizers, then train as ever: `loss.backward()` and `optimizer.step()` do
    the rest. To make a step of several batches, set `accumulating` for all but the last.

    A parameter without a gradient in one process counts as zero there; it has none at all where no
    process has one. All processes must run through the model in the same order.

    Args:
        module: the model.
        optimizers: of its parameters.
        processes: that train together; None, all.
        bucket_bytes: at most so many in a bucket, unless a single parameter has more.

    Raises:
        RuntimeError: a lazy layer; a parameter that another stage shares out; models that differ;
            at a backward pass, a sparse gradient, or a second one of a parameter.

    Reference: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training",
    arXiv:2006.15704.
    """

    _bucket: ClassVar[type[Bucket]] = Bucket
    _cuts: ClassVar[bool] = False  # whether each process has a segment of a bucket

    def __init__(
        self,
        module: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        processes: Processes | None = None,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        check(module, optimizers)
        self.module, self.optimizers = module, list(optimizers)
        self.processes = processes or Processes()
        self.accumulating = False
        refuse_differences(module, self.processes)
        self.processes.send_from_first([*module.parameters(), *module.buffers()])
        self._works: Works = []  # under way
        self._loads, self._handles = [0] * (self.processes.count if self._cuts else 1), []
        self.buckets = self._make_buckets(bucket_bytes)
        self._updated = parameters_of(self.optimizers)
        for bucket in self.buckets:
            self._handles += bucket.listen(self._take)
        self._handles += watch(module, self.optimizers, self._forget, lambda: self._updated)
        self._handles += [o.register_step_post_hook(self._end_step) for o in self.optimizers]

    def _make_buckets(self, bucket_bytes: int) -> list[Any]:
        """Makes buckets of the optimizers' parameters, in the order in which they fill."""
        parts = split_by_kind(self.module.parameters(), self.optimizers, bucket_bytes)
        return [self._make_bucket(part) for part in parts]

    def _make_bucket(self, part: Part) -> Any:
        return self._bucket(part, self.processes, self._loads)

    def _take(self, bucket: Any, index: int, p: Parameter) -> None:
        """Moves a gradient that the backward pass has brought to its bucket."""
        if not any(each.arrived for each in self.buckets):  # the first of the pass
            engine: Any = torch.autograd.Variable._execution_engine  # type: ignore[attr-defined]
            engine.queue_callback(self._finish)
        bucket.add(index, p.grad)
        p.grad = None
        if bucket.is_full:
            self._complete(bucket)

    def _complete(self, bucket: Any) -> None:
        """Reduces the buckets that are full, in an order that is the same in all processes."""
        if not self.accumulating:
            waiting = [each for each in self.buckets if each.trains and not each.is_reduced]
            for each in takewhile(lambda each: each.is_full, waiting):
                self._reduce(each)

    def _finish(self) -> None:
        """Ends a backward pass: reduces what is left, and gives each parameter its gradient."""
        for bucket in self.buckets:
            bucket.arrived.clear()
        if self.accumulating:
            return
        for bucket in self.buckets:
            if bucket.trains and not bucket.is_reduced:
                self._reduce(bucket)
        wait_for(self._works)
        added = [flag for bucket in self.buckets for flag in bucket.added]
        found = iter(self.processes.find_any(added, self.buckets[0].parameters[0].device))
        for bucket in self.buckets:
            self._hand_over(bucket, [next(found) for _ in bucket.added])
            bucket.forget()

    def _reduce(self, bucket: Any) -> None:
        """Begins to average a bucket."""
        self._works += self.processes.all_reduce(bucket.mean())

    def _hand_over(self, bucket: Any, found: list[bool]) -> None:
        """Gives the parameters their averaged gradients, if any process had one."""
        for index, p in enumerate(bucket.parameters):
            if found[index]:
                p.grad = bucket.view(bucket.gradient, index)

    def _forget(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Forgets the gradients that have added up, of all optimizers or of one."""
        for bucket in self.buckets:
            bucket.arrived.clear()  # in a backward pass that failed
            if optimizer in (None, bucket.optimizer):
                bucket.forget()

    def _end_step(self, *step: Any) -> None:
        """Gives all processes the module's buffers of the first, such as running statistics."""
        self.processes.send_from_first(list(self.module.buffers()))

    def run(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a forward pass that is not the module's own, and returns what it returns."""
        return forward(*args, **kwargs)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Has all parameters whole meanwhile; all processes must call it."""
        yield

    def close(self) -> None:
        """Lets go of the module, which is then as any other."""
        for handle in self._handles:
            handle.remove()
