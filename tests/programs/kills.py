"""Kills runs of scripts/train.py with kill -9 at random moments, and lets them go on.

`python -m tests.programs.kills 50 4 0` makes 50 kills of one process and 4 of two, by DDP and each
stage of ZeRO in turn, at moments from seed 0, and prints a line for each.

Every run is a process of its own, forked from one that has imported what train.py imports: most of
a run would be the imports, and the kills would fall there.
"""

import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F
from torch.optim import lr_scheduler

from scratchopt.batches import Batches, InOrder
from scratchopt.cli.parser import Parser
from scratchopt.cli.train import main as main_of_train
from tests.shared.checkpoints import differences
from tests.shared.paths import OPTIMIZERS, SCRIPTS

TASK = """
# @package _global_
task:
  _target_: tests.programs.kills.Dropout
  seed: ${seed}
max_epochs: 4
checkpoint_steps: 3
accumulate_grad_batches: 2
log_every: 7
settings:
  newton: {damping: 20.0} # the Hessian of so few batches is indefinite
"""
LAST = Path("checkpoints", "last.ckpt")
SEVERAL = ("ddp", "zero1", "zero2", "zero3")  # of two processes


class Dropout(LightningModule):
    """A net that drops units, on noise, with a schedule of the lr and a validation mid-epoch."""

    def __init__(self, optimizer: Callable[..., torch.optim.Optimizer], seed: int = 0) -> None:
        super().__init__()
        self.optimizer, self.seed = optimizer, seed
        self.net = torch.nn.Sequential(
            torch.nn.Linear(16, 20), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(20, 4)
        )
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(600, 16, generator=generator)
        self.data = inputs, torch.randint(4, (600,), generator=generator)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.training_step(batch, batch_idx), batch_size=len(batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.98)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def train_dataloader(self) -> Any:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return Batches(
            self.data, 10, shuffle=True, seed=self.seed, rank=rank, world_size=world_size
        )

    def val_dataloader(self) -> Any:
        return InOrder(self.data, 600)


class Kills:
    """Runs, kills and resumes in a folder of its own.

    Args:
        folder: for all runs.
        seed: of the random moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        (folder / "conf" / "task").mkdir(parents=True)
        (folder / "conf" / "task" / "dropout.yaml").write_text(TASK.lstrip())
        self._whole: dict[tuple[str, str], tuple[dict[str, Any], float, float]] = {}

    def whole(self, optimizer: str, accelerator: str) -> tuple[dict[str, Any], float, float]:
        """The last checkpoint of a run that nobody kills, its seconds to the first, and in all."""
        key = optimizer, accelerator
        if key not in self._whole:
            began = time.monotonic()
            run = self.folder / f"{optimizer}-{accelerator}-whole"
            child = self._train(optimizer, accelerator, run)
            _await(run / LAST)
            first = time.monotonic() - began
            assert _wait(child) == 0, run.with_suffix(".log").read_text()
            self._whole[key] = _load(run / LAST), first, time.monotonic() - began
        return self._whole[key]

    def kill(self, optimizer: str, name: str, accelerator: str = "cpu") -> str:
        """Kills a run at a random moment of its training, lets it go on, and says where it was.

        A moment before the first checkpoint, which is written before the first step, or after the
        last does not count, and another is drawn.

        Raises:
            AssertionError: a checkpoint was lost or damaged, or the run came to another end.
        """
        expected, first, whole = self.whole(optimizer, accelerator)
        for attempt in range(20):
            run = self.folder / f"{optimizer}-{accelerator}-{name}-{attempt}"
            child = self._train(optimizer, accelerator, run)
            if accelerator != "cpu":
                _await(run / LAST)
            time.sleep(self.random.uniform(0, whole if accelerator == "cpu" else whole - first))
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            _wait(child)
            before = _load(run / LAST)["global_step"] if (run / LAST).exists() else None
            if before not in (None, expected["global_step"]):
                return self._go_on(optimizer, accelerator, run, before)
        raise AssertionError(f"{optimizer} was never killed while it trained")

    def _go_on(self, optimizer: str, accelerator: str, run: Path, before: int) -> str:
        writing = (run / LAST).with_suffix(".new").exists()
        child = self._train(optimizer, accelerator, run, [f"resume={run}"])
        assert _wait(child) == 0, run.with_suffix(".log").read_text()
        gaps = differences(self.whole(optimizer, accelerator)[0], _load(run / LAST))
        assert not gaps, f"{run} came to another end: {gaps[:3]}"
        return f"after step {before}" + (", while it wrote the next" if writing else "")

    def _train(
        self, optimizer: str, accelerator: str, run: Path, resume: Sequence[str] = ()
    ) -> int:
        """Forks a process that does what train.py does; those that it starts are in its group."""
        if child := os.fork():
            return child
        try:
            os.setpgrp()
            os.chdir(self.folder)
            log = os.open(run.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(log, 2)
            sys.argv[:] = [
                str(SCRIPTS / "train.py"),
                *(
                    resume
                    or [
                        *("--config-dir", "conf", "task=dropout", f"hydra.run.dir={run}"),
                        f"optimizer={optimizer}",
                        f"accelerator={accelerator}",
                    ]
                ),
            ]
            sys.modules["__main__"].__spec__ = None  # Lightning goes by sys.argv then
            main_of_train()
            os._exit(0)
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            os._exit(end.code if isinstance(end.code, int) else 1)
        except BaseException:
            traceback.print_exc()
        os._exit(70)


def _await(path: Path) -> None:
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} does not come")


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def main(count: int, of_two_processes: int, seed: int) -> None:
    """Makes the kills, each optimizer in turn, and prints a line for each."""
    torch.set_num_threads(1)  # a fork takes no threads along
    import scratchopt.runs.training  # noqa: F401  (what train.py imports late)

    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), seed)
        for i in range(count + of_two_processes):
            accelerator = "cpu" if i < count else SEVERAL[i % len(SEVERAL)]
            optimizer = OPTIMIZERS[i % len(OPTIMIZERS)]
            if optimizer == "newton" and accelerator != "cpu":  # which ZeRO refuses
                optimizer = "adam"
            where = kills.kill(optimizer, str(i), accelerator)
            print(f"{i + 1:3} {optimizer}, {accelerator}: killed {where}", flush=True)
    print(f"{count + of_two_processes} kills and continuations bit for bit, no checkpoint lost")


if __name__ == "__main__":
    parser = Parser(__doc__)
    parser.add_argument("kills", type=int, help="of runs of one process")
    parser.add_argument("of_two", type=int, help="kills of runs of two processes")
    parser.add_argument("seed", type=int, help="of the moments")
    asked = parser.parse_args()
    main(asked.kills, asked.of_two, asked.seed)
