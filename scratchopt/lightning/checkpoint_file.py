"""The file of a checkpoint: it is whole, or the one before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from scratchopt.lightning.packages import is_a


def write_checkpoint(trainer: Trainer, content: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint beside the one that is there, and puts it in its place by one rename.

    All processes must come here, and when they leave the file is there. The strategy writes it, so
    the parts of sharded parameters become one.

    Args:
        trainer: whose strategy writes.
        content: plain values and tensors.
        path: of the file, in a folder that is made if it is not there.
    """
    new = path.with_suffix(".new")
    try:
        with _write_at_once(trainer):
            trainer.strategy.save_checkpoint(content, new)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            with new.open("rb") as written:
                os.fsync(written.fileno())  # before the rename, or a power cut may keep neither
            os.replace(new, path)
    except BaseException:  # a full disk
        if trainer.is_global_zero:
            new.unlink(missing_ok=True)
        raise
    trainer.strategy.barrier()


@contextmanager
def _write_at_once(trainer: Trainer) -> Iterator[None]:
    """Makes a strategy write files before its call returns, under an AsyncCheckpointIO too."""
    strategy: Any = trainer.strategy
    plugin = strategy.checkpoint_io
    if is_a(plugin, "AsyncCheckpointIO") and plugin.checkpoint_io is not None:
        strategy.checkpoint_io = plugin.checkpoint_io
    try:
        yield
    finally:
        strategy.checkpoint_io = plugin
