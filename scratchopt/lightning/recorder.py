"""Recorder: the path that the parameters take, step by step, in a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from scratchopt.lightning.fully_shard import full_tensor, reshard
from scratchopt.lightning.trajectory import RecordFile, RecordLayout
from scratchopt.second_order.flat import common_dtype, dense_gradient, flatten

SMALL = 100  # numbers; of so few every step is recorded, with its gradient, unless one says so
BUFFERED = 50  # records of small models between two writes


class Recorder(Callback):
    """Appends a record to `<trainer.default_root_dir>/path` before each update, or each `every`th.

    A record has the step, counted as `OptimizerMonitor` does, and the trainable parameters θ as one
    vector; of models of up to 100 numbers, with one optimizer, also the point where the gradient
    was evaluated, which under an exact `NAG` is θ + μv, and that gradient: over all accumulated
    micro-batches, unscaled and before clipping, zero for a parameter that has none. A last record
    has the final θ, and where no gradient was taken there, point and gradient of NaN.
    `read_records` reads them.

    It works for any module and any torch optimizer. Memory is written every 50 records, at the end,
    on an exception and before a checkpoint; so a run that is killed and goes on from its checkpoint
    leaves the records of an uninterrupted one. With several processes the first writes, and sharded
    parameters (FSDP2) are put together. bf16 is recorded as float32. A module's own `Convergence`
    comes after the Trainer's callbacks; one that is among them is to be listed after this.

    Args:
        every: steps between two records, >= 1; None, every step of models of up to 100 numbers and
            nothing of larger ones.

    Raises:
        ValueError: a value out of its range; when a run is resumed, records there that are damaged
            or of other parameters.
    """

    def __init__(self, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise ValueError(f"Invalid Recorder interval: {every} (every >= 1, or None)")
        self.every = every
        self._reset()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds what is recorded of earlier steps, and takes the first θ."""
        self._reset()
        reshard(pl_module)
        named = {name: p for name, p in pl_module.named_parameters() if p.requires_grad}
        parameters = list(named.values())
        small = sum(p.numel() for p in parameters) <= SMALL
        self._every = self.every or (1 if small else 0)
        self._small = small and len(trainer.optimizers) == 1
        if not (self._every and parameters):
            self._every = 0
            return
        self._parameters, self._step = parameters, trainer.global_step
        kind = common_dtype(parameters)
        self._dtype = torch.float32 if kind == torch.bfloat16 else kind
        if trainer.is_global_zero:
            layout = RecordLayout(
                list(named),
                [list(p.shape) for p in parameters],
                str(self._dtype).removeprefix("torch."),
                gradients=self._small,
            )
            self._file = RecordFile(
                Path(trainer.default_root_dir, "path"), layout, trainer.global_step
            )
        self._begin()

    @torch.no_grad()
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Takes point and gradient, before the point is left and the gradient is clipped."""
        if self._pending is None:  # or a second time in a step
            return
        theta, self._pending = self._pending, None
        self._add(theta, *self._parameters, *map(dense_gradient, self._parameters))

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Takes the θ that an update has led to."""
        if self._every and trainer.global_step != self._step:
            self._step = trainer.global_step
            self._begin()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the final θ, unless it is recorded, and writes the rest."""
        if self._every and self._added != self._step:
            theta = _flat_copy(self._parameters) if self._pending is None else self._pending
            if self._file is None or self._file.last != self._step:  # of a run with nothing left
                nothing = [torch.full_like(theta, torch.nan)] * 2 if self._small else []
                self._add(theta, *nothing)
        self._flush()

    def on_exception(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Writes what there is."""
        self._flush()

    def on_save_checkpoint(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Writes what there is, before a checkpoint that says that it happened."""
        self._flush()
        if self._file:
            self._file.sync()

    def _reset(self) -> None:
        self._every = 0  # recording nothing
        self._file: RecordFile | None = None  # of the first process
        self._pending: Tensor | None = None  # θ of the step under way, if it is to be recorded
        self._waiting: list[tuple[int, Tensor]] = []
        self._added = -1  # the last step in a record

    @torch.no_grad()
    def _begin(self) -> None:
        self._pending = None
        if self._step % self._every == 0:
            if self._small:
                self._pending = _flat_copy(self._parameters)
            else:
                self._add(*self._parameters)

    def _add(self, *tensors: Tensor) -> None:
        row = _flat_copy(tensors)  # by all processes: shards are put together
        self._added = self._step
        if self._file:
            self._waiting.append((self._step, row))
            if len(self._waiting) == (BUFFERED if self._small else 1):
                self._flush()

    def _flush(self) -> None:
        if self._file and self._waiting:
            steps, rows = zip(*self._waiting, strict=True)
            self._waiting = []
            self._file.append(list(steps), torch.stack(rows).to("cpu", self._dtype).numpy())


def _flat_copy(tensors: Sequence[Tensor]) -> Tensor:
    """A copy of the values, one after another, put together where they are sharded."""
    return flatten(full_tensor(tensor.detach()) for tensor in tensors)
