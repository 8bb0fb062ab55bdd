"""ZeRO stage 1: the state of the optimizer is shared out, and each process updates its share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from scratchopt.zero.data_parallel import BUCKET_BYTES, DataParallel
from scratchopt.zero.part_of_state import give_pieces, load_part
from scratchopt.zero.processes import Processes, Works, wait_for
from scratchopt.zero.shared_bucket import Shared, SharedBucket
from scratchopt.zero.watch import Watch, parameters_of


class Stage1(DataParallel):
    """Each process updates a piece of every parameter, and so has only that piece's state.

    An all-reduce is a reduce-scatter and an all-gather. Data parallelism does both with the
    gradient; here the step comes between them: the gradient is reduced so that each process has the
    mean of its own pieces, these are updated, and then the parameters are gathered. That is the
    same traffic, 2Ψ numbers for Ψ parameters.

    The optimizers are given the pieces in place of the parameters, in the same groups. An
    elementwise rule updates flat slices; a rule that needs whole tensors gets some of the tensors,
    dealt out by size. `parameter.shared.piece` is this process's piece of a parameter; it has the
    gradient, and the parameter itself has none.

    Where a method looks ahead, the parameters that it has moved are gathered before the module's
    forward pass; one that is not the module's own goes through `run`.

    Args:
        module: the model.
        optimizers: of its parameters, with a state that is the same in all processes, or none. They
            update pieces from now on, and their `state_dict()` is this process's part;
            `gather_state` gives all of it.
        processes: that train together; None, all.
        bucket_bytes: at most so many in a bucket, unless a single parameter has more.

    Raises:
        RuntimeError: as `DataParallel`; an optimizer whose rule needs all parameters at once, or
            that is at its gradient point; a group that was added later.

    Reference: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter
    Models", arXiv:1910.02054, section 5.1.
    """

    _bucket, _cuts = SharedBucket, True

    def __init__(
        self,
        module: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        processes: Processes | None = None,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        super().__init__(module, optimizers, processes, bucket_bytes)
        for bucket in self.buckets:
            self._share(bucket)
        self._groups = {
            o: [[p.shared for p in group["params"]] for group in o.param_groups]
            for o in self.optimizers
        }
        for optimizer in self.optimizers:
            state = optimizer.state_dict()  # of what has been loaded, or an Adagrad's first one
            give_pieces(optimizer)
            load_part(optimizer, self._groups[optimizer], state)
        self._updated = parameters_of(self.optimizers)
        self._handles.append(module.register_forward_pre_hook(self.follow_moves, prepend=True))
        for optimizer in self.optimizers:
            self._handles.append(optimizer.register_step_pre_hook(self.adopt))
            for move in {"lookahead_", "restore_"} & set(dir(optimizer)):
                self._handles.append(Watch(optimizer, move, self.adopt))
        self._moves = self._count_moves()

    def _share(self, bucket: SharedBucket) -> None:
        bucket.share()

    def _reduce(self, bucket: SharedBucket) -> None:
        """Begins to average a bucket, of which this process gets its segment."""
        self._works += self.processes.reduce_scatter(bucket.mean(), bucket.layout.bounds)

    def _hand_over(self, bucket: SharedBucket, found: list[bool]) -> None:
        """Gives the pieces their gradients; the rest of the bucket lives as long as they do."""
        if bucket.gradient is not None:
            bucket.give_gradients(bucket.segment(bucket.gradient), found)

    def _forget(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        super()._forget(optimizer)
        if optimizer is None:  # it was the module, which does not know of the pieces
            for p in self._updated:
                p.grad = None

    def shared_of(self, optimizer: torch.optim.Optimizer) -> list[list[Shared]]:
        """The parameters of each group that an optimizer was made with, in its order."""
        return self._groups[optimizer]

    def gather(self) -> None:
        """Gathers the parameters from the pieces; all processes must call it."""
        works: Works = []
        for bucket in self.buckets:
            if any(piece.requires_grad for piece in bucket.pieces):
                works += self.processes.all_gather(bucket.values, bucket.layout.bounds)
        wait_for(works)
        self._moves = self._count_moves()

    def run(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a forward pass that is not the module's own, and returns what it returns."""
        self.follow_moves()
        return forward(*args, **kwargs)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Has all parameters whole meanwhile; all processes must call it."""
        self.follow_moves()
        yield

    def adopt(self, *call: Any) -> None:
        """Takes over what a user has written to the parameters, or set as their `.data`."""
        for bucket in self.buckets:
            bucket.adopt()

    def follow_moves(self, *call: Any) -> None:
        """Gathers the parameters, if a method has moved its pieces to look ahead, or back."""
        self.adopt()
        if self._moves != self._count_moves():
            self.gather()

    def _end_step(self, *step: Any) -> None:
        super()._end_step()
        self.gather()

    def close(self) -> None:
        """Lets go of the module, which is then as any other; its optimizers keep their pieces."""
        super().close()
        for p in (p for bucket in self.buckets for p in bucket.parameters):
            vars(p).pop("shared", None)

    def _count_moves(self) -> int:
        """Counts the lookaheads of all optimizers, and the ways back."""
        return sum(getattr(optimizer, "moves", 0) for optimizer in self.optimizers)
