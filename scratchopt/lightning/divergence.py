"""Divergence: a loss or a parameter that became NaN or infinite."""

import math
from collections.abc import Sequence

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from scratchopt.lightning.fully_shard import full_tensor
from scratchopt.lightning.scalars import Rows


class Diverged(RuntimeError):
    """A loss or a parameter became NaN or infinite."""


def check_values(trainer: Trainer, written: Rows) -> None:
    """Raises `Diverged` where a loss or a velocity is not finite, for the first of them."""
    bad = [
        (step, tag, value)
        for tag in ("train/loss", "train/velocity")
        for step, value in written.get(tag, ())
        if not math.isfinite(value)
    ]
    if bad:
        step, tag, value = min(bad)
        raise _diverged(trainer, step, f"{tag} is {value}")


@torch.no_grad()
def check_parameters(trainer: Trainer, parameters: Sequence[Tensor], step: int) -> None:
    """Raises `Diverged` where a parameter is not finite; all processes that share them must come.

    Args:
        trainer: its first optimizer is named.
        parameters: of the module.
        step: the last that was taken.
    """
    finite = [full_tensor(p.isfinite().all()) for p in parameters]
    if finite and not torch.stack(finite).all():
        raise _diverged(trainer, step, "a parameter is not finite")


def _diverged(trainer: Trainer, step: int, what: str) -> Diverged:
    optimizer = trainer.optimizers[0]
    return Diverged(
        f"diverged at step {step}: {what} with {type(optimizer).__name__}, "
        f"lr={float(optimizer.param_groups[0]['lr']):g}: try a smaller lr"
    )
