"""A user's task that ends its process, or fails, at a place: the first time or always."""

from pathlib import Path

TASK = """
import os
import torch
from lightning.pytorch import LightningModule
from pathlib import Path
from scratchopt.batches import Batches, InOrder


class Odd(LightningModule):
    def __init__(self, optimizer, place="", always=False):
        super().__init__()
        self.optimizer, self.place, self.always = optimizer, place, always
        self.net = torch.nn.Linear(4, 1)
        self.data = torch.randn(96, 4, generator=torch.Generator().manual_seed(0))

    def _at(self, place):
        mark = Path("been there")
        if place == self.place and (self.always or not mark.exists()):
            mark.touch()
            if self.always:
                raise RuntimeError("odd: this never\\nworks")
            os._exit(9)

    def training_step(self, batch, batch_idx):
        if self.global_step == 30:
            self._at("train")
        return (self.net(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", (self.net(batch[0]) - 1).square().mean())

    def test_step(self, batch, batch_idx):
        self._at("test")
        self.log("test/loss", (self.net(batch[0]) - 1).square().mean())

    def configure_optimizers(self):
        return self.optimizer(self.parameters())

    def train_dataloader(self):
        return Batches([self.data], 16, shuffle=True, seed=0)

    def val_dataloader(self):
        return InOrder([self.data], 96)

    test_dataloader = val_dataloader
"""
CONFIGURATION = """
# @package _global_
task:
  _target_: odd.Odd
  place: ""
  always: false
max_epochs: 8
checkpoint_steps: 5
validate_steps: 4
threads: 1
comparison: {metric: val/loss, mode: min, target: 0.1}
"""


def write_odd_task(folder: Path, task: str = TASK) -> None:
    """Makes `task=odd` known to commands in a folder that have `--config-dir conf`."""
    (folder / "odd.py").write_text(task)
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "conf" / "task" / "odd.yaml").write_text(CONFIGURATION)
