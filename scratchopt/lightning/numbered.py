"""Files of several fits in one folder: each has its own, and goes on with its own."""

from itertools import count
from pathlib import Path

from lightning.pytorch import Trainer


def goes_on(trainer: Trainer, root: Path) -> bool:
    """Tells whether a fit goes on with what an earlier one has left in a folder.

    It does from a checkpoint there, and where the same Trainer fits again; not from a checkpoint
    that lies elsewhere.
    """
    if trainer.ckpt_path is None:
        return trainer.fit_loop.epoch_loop.batch_progress.total.ready > 0
    return Path(trainer.ckpt_path).absolute().resolve().is_relative_to(root.absolute().resolve())


def choose_free(folder: Path, name: str, suffix: str = "") -> str:
    """Chooses a name that nothing has in a folder: `name`, `name-v1`, `name-v2`, …

    So does Lightning's ModelCheckpoint.
    """
    names = (name if i == 0 else f"{name}-v{i}" for i in count())
    return next(free for free in names if not (folder / f"{free}{suffix}").exists())
