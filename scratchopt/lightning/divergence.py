"""Divergence: a loss or a parameter that became NaN or infinite."""

import cmath
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, distributed

from scratchopt.lightning.scalars import Rows
from scratchopt.lightning.shards import find_sharers, full_tensor, shard_of


class Diverged(RuntimeError):
    """A loss or a parameter became NaN or infinite."""


def diverged_at(step: int) -> str:
    """The beginning of a message; steps are counted as the logs count them, updates from 1."""
    return f"diverged at step {step}, counted from 0"


class BadLoss(NamedTuple):
    """A loss that is not finite: of which step, and whether a batch of that step is not either."""

    step: int
    bad_batch: bool


class LossCheck:
    """Finds the first step whose loss is not finite, without waiting for a GPU.

    On a CPU it is found as the batch ends; with several processes, by all of them, as the step
    ends; on a GPU a step later, while the next one is computed. On other devices it is left to
    whoever reads the losses.

    Args:
        trainer: whose device and processes these are.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._alone = trainer.world_size == 1
        self._device = trainer.strategy.root_device
        self._on_cpu = self._device.type == "cpu"
        self._looks = self._device.type in ("cpu", "cuda")
        self._flags = self._none = torch.zeros(2, device=self._device)  # a bad loss, a bad batch
        self._copied: tuple[int, Tensor, Any] | None = None  # flags on their way from the GPU

    def take(self, loss: Tensor | None, batch: Any) -> None:
        """Looks at the loss of a batch; on a CPU at the batch only where the loss is bad."""
        if loss is None or not self._looks or (self._on_cpu and _is_finite(loss)):
            return
        self._flag(loss, batch)

    @torch.no_grad()
    def _flag(self, loss: Tensor, batch: Any) -> None:
        bad_loss = (~loss.detach().isfinite().all()).to(self._device)
        flags = torch.stack([bad_loss, *_find_bad(batch, self._device)])
        self._flags = self._flags + torch.stack([flags[0], flags[1:].any()])

    def find(self, step: int, *, stepped: bool) -> BadLoss | None:
        """Finds a step whose loss is not finite, among those not asked for yet.

        Args:
            step: that is under way, or was taken last.
            stepped: whether it was taken; all processes must then come here.
        """
        if not self._looks or not (stepped or (self._alone and self._on_cpu)):
            return None
        flags, self._flags = self._flags, self._none
        if self._alone and self._on_cpu and flags is self._none:
            return None
        if not self._alone:
            flags = flags.clone()
            distributed.all_reduce(flags)  # the strategy's own would wait for the GPU
        if self._on_cpu:
            return _read(step, flags)
        earlier, self._copied = self._copied, (step, *_begin_copy(flags))
        if earlier is None:
            return None
        step, copy, event = earlier
        event.synchronize()
        return _read(step, copy)


def check_values(trainer: Trainer, written: Rows, found: BadLoss | None = None) -> None:
    """Raises `Diverged` where a loss or a velocity is not finite, for the first of them.

    Args:
        trainer: its first optimizer is named.
        written: the numbers, by tag.
        found: what a `LossCheck` has found.
    """
    bad = [
        (step, tag, value)
        for tag in ("train/loss", "train/velocity")
        for step, value in written.get(tag, ())
        if not math.isfinite(value)
    ]
    if found and not bad:
        bad = [(found.step, "train/loss", math.nan)]
    if not bad:
        return
    step, tag, value = min(bad)
    if found and found.bad_batch and (step, tag) == (found.step, "train/loss"):
        raise Diverged(
            f"{diverged_at(step)}: {tag} is {value}, and so is a value of its batch, NaN or "
            "infinite: mend the data, or let training_step return None for such a batch"
        )
    raise _diverged(trainer, step, f"{tag} is {value}")


@torch.no_grad()
def check_parameters(trainer: Trainer, parameters: Sequence[Tensor], step: int) -> None:
    """Raises `Diverged` where a parameter is not finite; all processes that share them must come.

    Args:
        trainer: its first optimizer is named.
        parameters: of the module.
        step: the last that was taken; −1 before the first.
    """
    finite = [full_tensor(shard_of(p).isfinite().all()) for p in parameters]
    bad = torch.stack(finite).logical_not().sum() if finite else torch.tensor(0)
    sharers = find_sharers(parameters)
    if sharers.add_up(bad) if sharers else bad:
        if step < 0:
            raise Diverged("a parameter is NaN or infinite before the first step: start elsewhere")
        raise _diverged(trainer, step, "a parameter is not finite")


def _diverged(trainer: Trainer, step: int, what: str) -> Diverged:
    optimizer = trainer.optimizers[0]
    return Diverged(
        f"{diverged_at(step)}: {what} with {type(optimizer).__name__}, "
        f"lr={float(optimizer.param_groups[0]['lr']):g}: try a smaller lr"
    )


def _is_finite(loss: Tensor) -> bool:
    if type(loss) is Tensor and loss.numel() == 1:  # a tenth of the time of the other way
        return cmath.isfinite(loss.item())
    return bool(loss.isfinite().all())


def _read(step: int, flags: Tensor) -> BadLoss | None:
    bad_loss, bad_batch = flags.tolist()
    return BadLoss(step, bad_batch > 0) if bad_loss else None


def _find_bad(batch: Any, device: torch.device) -> list[Tensor]:
    """Tells of each tensor of a batch whether a value is not finite; the first flag is of none."""
    found = [torch.tensor(False, device=device)]

    def look(tensor: Tensor) -> None:
        if tensor.is_floating_point() or tensor.is_complex():
            found.append((~tensor.isfinite()).any().to(device))

    apply_to_collection(batch, Tensor, look)
    return found


def _begin_copy(flags: Tensor) -> tuple[Tensor, Any]:
    """Begins to copy flags from the GPU; gives the copy, and the event after which it is there."""
    copy = torch.empty(2, pin_memory=True)
    copy.copy_(flags, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return copy, event
