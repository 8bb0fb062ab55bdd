"""Files of several fits in one folder: each has its own, and goes on with its own."""

from itertools import count
from pathlib import Path

from lightning.pytorch import Trainer


def choose_version(trainer: Trainer, current: str, place: str) -> str:
    """Chooses a fit's name for a file: `last`, or what no fit has yet of `last-v1`, `last-v2`, …

    Lightning's ModelCheckpoint numbers its files alike. A fit that goes on with what an earlier one
    has left in the folder keeps the name that it has. All processes choose the same.

    Args:
        trainer: of the fit.
        current: the name that its callback has, perhaps from a checkpoint.
        place: of the first fit's file or folder in `default_root_dir`: "checkpoints/last.ckpt".
    """
    if _goes_on(trainer):
        return current
    first = Path(trainer.default_root_dir, place)
    names = (first.stem if i == 0 else f"{first.stem}-v{i}" for i in count())
    free = next(name for name in names if not first.with_stem(name).exists())
    return trainer.strategy.broadcast(free)


def _goes_on(trainer: Trainer) -> bool:
    """Tells whether a fit goes on with what an earlier one has left in its folder.

    It does from a checkpoint there, and where the same Trainer fits again; not from a checkpoint
    that lies elsewhere.
    """
    if trainer.ckpt_path is None:
        return trainer.fit_loop.epoch_loop.batch_progress.total.ready > 0
    root = Path(trainer.default_root_dir).absolute().resolve()
    return Path(trainer.ckpt_path).absolute().resolve().is_relative_to(root)
