"""Validations: what each found, at what step and cost, and how long the training took till then."""

from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from scratchopt import SGD, Newton
from scratchopt.batches import Batches, InOrder
from scratchopt.lightning import LiveLoss, OptimizerMonitor, Validations
from scratchopt.lightning import validations as module_of_the_clock
from tests.shared.trainers import quiet_trainer


class Line(LightningModule):
    """Least squares, which takes a second a batch in training and a hundred in validation."""

    def __init__(self, optimizer: Any, clock: list[float]) -> None:
        super().__init__()
        self.optimizer, self.clock = optimizer, clock
        self.weight = torch.nn.Parameter(torch.zeros(2))
        generator = torch.Generator().manual_seed(0)
        self.data = [torch.randn(12, 2, generator=generator)]

    def loss(self, batch: Any) -> Tensor:
        return (batch[0] @ self.weight - 1).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.clock[0] += 1
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.clock[0] += 100
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())

    def train_dataloader(self) -> Batches:
        return Batches(self.data, 4, shuffle=False, seed=0)

    def val_dataloader(self) -> InOrder:
        return InOrder(self.data, 12)


def validated(monkeypatch: Any, optimizer: Any, **options: Any) -> tuple[Line, Validations]:
    clock = [0.0]
    monkeypatch.setattr(module_of_the_clock.time, "perf_counter", lambda: clock[0])
    monitor = OptimizerMonitor()
    kept, line = Validations(monitor), Line(optimizer, clock)
    quiet_trainer([monitor, kept, LiveLoss()], **options).fit(line)
    return line, kept


def test_a_row_has_step_cost_metrics_and_the_seconds_of_training_alone(monkeypatch):
    line, kept = validated(monkeypatch, partial(SGD, lr=0.1), max_epochs=2)
    assert [row["steps"] for row in kept.rows] == [3, 6]
    assert [row["evaluations"] for row in kept.rows] == [3, 6]
    assert [row["cost"] for row in kept.rows] == [3, 6]
    assert [row["seconds"] for row in kept.rows] == [3, 6]
    assert kept.seconds == 6
    assert kept.rows[-1]["val/loss"] == pytest.approx(line.loss(line.data).item(), rel=1e-6)
    assert kept.latest == {"val/loss": kept.rows[-1]["val/loss"]}


def test_of_accumulated_batches_each_is_an_evaluation(monkeypatch):
    _, kept = validated(monkeypatch, partial(SGD, lr=0.1), max_epochs=2, accumulate_grad_batches=3)
    assert [(row["steps"], row["evaluations"]) for row in kept.rows] == [(1, 3), (2, 6)]


def test_newton_s_products_are_in_the_cost(monkeypatch):
    newton = partial(Newton, solver="cg", cg_iters=1)
    _, kept = validated(monkeypatch, newton, max_epochs=1)
    [row] = kept.rows
    assert row["cost"] > row["evaluations"] == 3


def test_a_checkpoint_keeps_rows_and_clock(monkeypatch):
    _, kept = validated(monkeypatch, partial(SGD, lr=0.1), max_epochs=2)
    again = Validations(OptimizerMonitor())
    again.load_state_dict(kept.state_dict())
    assert (again.rows, again.seconds) == (kept.rows, 6)
