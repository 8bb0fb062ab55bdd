"""ZeRO stage 3, which is FSDP: of the parameters, too, each process keeps its own share alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scratchopt.zero.grouping import split_by_kind
from scratchopt.zero.order import Order
from scratchopt.zero.shared_bucket import SharedBucket
from scratchopt.zero.stage2 import Stage2
from scratchopt.zero.units import Unit, find_tensors, split_into_units
from scratchopt.zero.whole_parameters import refuse_pieces


class Stage3(Stage2):
    """Stage 2, but a unit's parameters are whole only during its forward and backward passes.

    A unit is an element of a `nn.Sequential` or `nn.ModuleList` (`find_units`); what is in no list
    is one more, whole while the whole model computes. A unit's parameters are gathered before its
    forward pass and freed after it, gathered before its backward pass and freed as its gradient is
    reduced: a traffic of 3Ψ, and beside its own share a process has one unit at a time. Of a
    parameter in a list all processes must have a gradient, or none, or they wait for each other.

    Meanwhile `parameter.data` is this process's piece of it, and `state_dict()` is refused. `with
    stage.whole():` makes all parameters whole, to read or write them; all processes must do so.

    Args:
        module, optimizers, processes: as in `Stage1`.
        bucket_bytes: not used: each group and dtype of a unit is a bucket.

    Raises:
        RuntimeError: as `Stage1`; a parameter that units share; a unit that returns no tensors;
            after a backward pass, processes that have run other units.

    Reference: Rajbhandari et al., arXiv:1910.02054, section 5.3; Zhao et al., "PyTorch FSDP:
    Experiences on Scaling Fully Sharded Data Parallel", arXiv:2304.11277.
    """

    def _make_buckets(self, bucket_bytes: int) -> list[SharedBucket]:
        """Makes buckets of each unit's parameters, the last unit's first."""
        self._units, self._order = list[Unit](), Order(self.processes)
        self._unit_of: dict[SharedBucket, Unit] = {}
        for module, parameters in split_into_units(self.module):
            parts = split_by_kind(parameters, self.optimizers, float("inf"), all_of_them=True)
            unit = Unit([self._make_bucket(part) for part in parts])
            self._units.append(unit)
            self._unit_of |= dict.fromkeys(unit.buckets, unit)
            self._handles += [
                module.register_forward_pre_hook(partial(self._before_forward, unit)),
                module.register_forward_hook(partial(self._after_forward, unit), always_call=True),
            ]
        parts = self.module.modules()
        self._handles += [m.register_state_dict_pre_hook(refuse_pieces) for m in parts]
        return [bucket for unit in reversed(self._units) for bucket in unit.buckets]

    def _share(self, bucket: SharedBucket) -> None:
        bucket.share(apart=True)
        bucket.free()

    def _before_forward(self, unit: Unit, *call: Any) -> None:
        unit.forward += 1
        self._fill(unit)

    def _after_forward(self, unit: Unit, module: nn.Module | None, args: Any, output: Any) -> None:
        unit.forward -= 1
        if torch.is_grad_enabled():
            for tensor in find_tensors(output, None if unit is self._units[-1] else module):
                self._watch(unit, tensor)
        if not unit.computes:
            self._keep(unit.buckets)
        unit.free()

    def _watch(self, unit: Unit, output: Tensor) -> None:
        """Has the parameters gathered when the backward pass comes to an output."""
        if output.requires_grad:
            output.register_hook(lambda gradient: self._before_backward(unit))

    def _before_backward(self, unit: Unit) -> None:
        unit.backward = True
        self._fill(unit)

    def _complete(self, bucket: SharedBucket) -> None:
        """Reduces a bucket that is full, but what is in no list at the end, and frees it."""
        if not self.accumulating and self._unit_of[bucket] is not self._units[-1]:
            self._reduce(bucket)
        if not self._unit_of[bucket].forward:  # a training_step may call backward(), and go on
            bucket.free()

    def _finish(self) -> None:
        super()._finish()
        self._order.check(self.buckets[0].parameters[0].device)
        for unit in self._units:
            unit.backward = False
            unit.free()

    def _fill(self, unit: Unit) -> None:
        self._order.note(self._units.index(unit))
        unit.fill()

    def _keep(self, buckets: list[SharedBucket]) -> None:
        """Keeps what was written to whole parameters, unless the pieces have moved meanwhile."""
        for bucket in buckets if self._moves == self._count_moves() else ():
            bucket.keep()

    def adopt(self, *call: Any) -> None:
        """Takes over what a user has written to the parameters, or set as their `.data`."""
        super().adopt()
        self._keep(self.buckets)

    def gather(self) -> None:
        """Gathers anew what is whole now; the rest will be, before it computes."""
        for bucket in self.buckets:
            if bucket.is_whole:
                bucket.fill()
        self._moves = self._count_moves()

    def run(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a forward pass that is not the module's own, and returns what it returns."""
        self.follow_moves()
        self._before_forward(self._units[-1])
        output = None
        try:
            output = forward(*args, **kwargs)
        finally:
            self._after_forward(self._units[-1], None, None, output)
        return output

    def close(self) -> None:
        """Lets go of the module, whose parameters are whole from now on; all must call it."""
        super().close()
        for unit in self._units:
            self._before_forward(unit)  # without an end

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Has all parameters whole meanwhile, and keeps what is written to them."""
        for unit in self._units:
            self._before_forward(unit)
        try:
            yield
        finally:
            for bucket in self.buckets:
                bucket.keep()
            for unit in self._units:
                unit.forward -= 1
                unit.free()
