"""Recorder: the path that the parameters take, step by step, in a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from scratchopt.lightning.file_versions import choose_version
from scratchopt.lightning.fully_shard import reshard
from scratchopt.lightning.named_parameters import find_trained
from scratchopt.lightning.record_file import RecordFile
from scratchopt.lightning.shards import full_gradient, full_tensor, shape_of
from scratchopt.lightning.trajectory import RecordLayout, read_records
from scratchopt.lightning.updates import Updates
from scratchopt.second_order.flat import common_dtype, flatten

SMALL = 100  # numbers; of so few every step is recorded, with its gradient, unless one says so
BUFFERED = 50  # records of small models between two writes


class Recorder(Callback):
    """Appends a record to `<trainer.default_root_dir>/path` before each update, or each `every`th.

    A record has the step, counted as `OptimizerMonitor` does, and the trainable parameters θ as one
    vector; of models of up to 100 numbers, with one optimizer, also the point where the gradient
    was evaluated, which under an exact `NAG` is θ + μv, and that gradient: over all accumulated
    micro-batches, unscaled and before clipping, zero for a parameter that has none. A last record
    has the final θ, and where no gradient was taken there, point and gradient of NaN.
    `read_records` reads them. Parameters that join later, as of a part that is thawed or of a lazy
    layer, are in all records, in the earlier ones with the values from which they started.

    It works for any module and any torch optimizer. Memory is written every 50 records, at the end,
    on an exception and before a checkpoint; so a run that is killed and goes on from its checkpoint
    leaves the records of an uninterrupted one. With several processes the first writes, and sharded
    parameters (FSDP2) are put together. bf16 is recorded as float32. A module's own `Convergence`
    comes after the Trainer's callbacks; one that is among them is to be listed after this.

    Another fit with the same folder leaves these records alone and has its own, in `path-v1`,
    `path-v2` and so on, as Lightning numbers its checkpoints. One that goes on from a checkpoint in
    that folder goes on with its records. With `fast_dev_run` nothing is recorded.

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
        self._folder = "path"
        self._updates = Updates()
        self._reset()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds what is recorded of earlier steps, and takes the first θ."""
        self._reset()
        if trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
            return
        reshard(pl_module)
        self._folder = choose_version(trainer, self._folder, "path")
        self._updates.watch(trainer, pl_module, self.on_before_optimizer_step)
        self._step = self._updates.count(trainer)
        if self._step:
            folder = Path(trainer.default_root_dir, self._folder)
            known = _find_layout(folder, pl_module) if trainer.is_global_zero else None
            self._layout = trainer.strategy.broadcast(known)
            if known:
                self._file = RecordFile(folder, known, self._step)
        self._every = self.every or 1
        self._take_parameters(trainer, pl_module)
        self._begin()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Takes point and gradient, before the point is left and the gradient is clipped."""
        if not self._every or self._seen == self._step:
            return
        self._seen = self._step
        with torch.no_grad():
            self._take_point(trainer, pl_module)

    def _take_point(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_parameters(trainer, pl_module)
        if self._is_due() and self._added != self._step:
            theta, self._pending = self._pending or self._named, None
            more: list[Tensor] = []
            if self._gradients:
                parameters = self._named.values()
                more = [*parameters, *map(full_gradient, parameters)]
            self._add(*theta.values(), *more)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Takes the θ that an update has led to."""
        if not self._every:
            return
        updates = self._updates.count(trainer)
        if updates != self._step:
            self._step = updates
            self._begin()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the final θ, unless it is recorded, and writes the rest."""
        self._updates.unwatch()
        nothing_left = self._file is not None and self._file.last == self._step
        if self._every and self._added != self._step and not nothing_left:
            theta = [full_tensor(x) for x in (self._pending or self._named).values()]
            nothing = [torch.full_like(x, torch.nan) for x in theta]
            self._add(*theta, *(2 * nothing if self._gradients else ()))
        self._flush()

    def on_exception(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Writes what there is."""
        self._updates.unwatch()
        self._flush()

    def on_save_checkpoint(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Writes what there is, before a checkpoint that says that it happened."""
        self._flush()
        if self._file:
            self._file.sync()

    def state_dict(self) -> dict[str, Any]:
        """The folder of the records, and the updates that Lightning has not counted."""
        return {"folder": self._folder, "unseen": self._updates.unseen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with saved records."""
        self._folder, self._updates.unseen = state_dict["folder"], state_dict["unseen"]

    def _reset(self) -> None:
        self._every = 0  # recording nothing
        self._layout: RecordLayout | None = None  # of the records
        self._file: RecordFile | None = None  # of the first process
        self._named: dict[str, Tensor] = {}  # the parameters
        self._gradients = False  # whether records have them
        self._pending: dict[str, Tensor] | None = None  # θ of a step whose gradient is to come
        self._waiting: list[tuple[int, Tensor]] = []
        self._added = self._seen = -1  # the last step in a record, and that was looked at

    def _is_due(self) -> bool:
        return self._every > 0 and self._step % self._every == 0

    def _take_parameters(self, trainer: Trainer, module: LightningModule) -> None:
        """Finds the parameters, and makes room in the records for those that are new."""
        known = self._layout.names if self._layout else []
        named = find_trained(module, known=known)
        if list(named) == list(self._named):
            return
        self._named = named
        size = sum(shape_of(p).numel() for p in named.values())
        self._every = self.every or (1 if size <= SMALL else 0)
        if not self._every:
            self._stop(size)
            return
        if self._layout is None:
            self._gradients = size <= SMALL and len(trainer.optimizers) == 1
        else:
            self._gradients = self._layout.gradients
        self._flush()  # as they were
        self._buffered = BUFFERED if size <= SMALL else 1
        self._layout = self._describe()
        joined = {n: full_tensor(p).clone() for n, p in named.items() if n not in known}
        if self._pending is not None:
            self._pending = {name: (self._pending | joined)[name] for name in named}
        if not trainer.is_global_zero:
            return
        if self._file and joined:
            self._file.widen(self._layout, {n: _as_array(x) for n, x in joined.items()})
        else:  # or as they were, if it is so
            folder = Path(trainer.default_root_dir, self._folder)
            self._file = RecordFile(folder, self._layout, self._step)

    def _describe(self) -> RecordLayout:
        kind = common_dtype(self._named.values()) if self._named else torch.float32
        self._dtype = torch.float32 if kind == torch.bfloat16 else kind
        return RecordLayout(
            list(self._named),
            [list(shape_of(p)) for p in self._named.values()],
            str(self._dtype).removeprefix("torch."),
            self._gradients,
        )

    def _stop(self, size: int) -> None:
        """Stops recording a model that has become too large."""
        self._flush()
        self._pending = None
        if self._layout:
            rank_zero_warn(
                f"Recorder: {size:,} numbers are trained from step {self._step} on, more than "
                f"{SMALL}, so the path ends there; Recorder(every=20) (record_every=20) goes on"
            )

    @torch.no_grad()
    def _begin(self) -> None:
        self._pending = None
        if not self._is_due():
            return
        if self._gradients:
            self._pending = {n: full_tensor(p).clone() for n, p in self._named.items()}
        else:
            self._add(*self._named.values())

    def _add(self, *tensors: Tensor) -> None:
        if not tensors:  # all of them come later
            return
        row = flatten(full_tensor(tensor) for tensor in tensors)  # by all processes
        self._added = self._step
        if self._file:
            self._waiting.append((self._step, row))
            if len(self._waiting) == self._buffered:
                self._flush()

    def _flush(self) -> None:
        if self._file and self._waiting:
            steps, rows = zip(*self._waiting, strict=True)
            self._waiting = []
            self._file.append(list(steps), torch.stack(rows).to("cpu", self._dtype).numpy())


def _find_layout(folder: Path, module: LightningModule) -> RecordLayout | None:
    """The layout of the records that a run goes on with; None, if there are none.

    Raises:
        ValueError: records that are damaged or of other parameters.
    """
    try:
        layout, _ = read_records(folder)
    except FileNotFoundError:
        return None
    own = {name: list(shape_of(p)) for name, p in module.named_parameters() if not is_lazy(p)}
    if any(own.get(n) != shape for n, shape in zip(layout.names, layout.shapes, strict=True)):
        raise ValueError(
            f"{folder}: its records are of other parameters than this run's; move it away"
        )
    return layout


def _as_array(tensor: Tensor) -> np.ndarray:
    """The numbers of a parameter, flat."""
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return tensor.reshape(-1).cpu().numpy()
