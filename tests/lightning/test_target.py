"""A run that ends at its target: at the right validation, with few before it, resumed or not."""

from collections.abc import Callable, Iterable
from math import exp, inf, isfinite, nan
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from scratchopt.batches import Batches, InOrder
from scratchopt.lightning import (
    Checkpoint,
    OptimizerMonitor,
    SpacedValidations,
    StopAtTarget,
    Validations,
)
from scratchopt.objective import Objective
from tests.shared.trainers import quiet_trainer

LOSS = Objective("val/loss", "min", 0.25)
Curve = Callable[[int], float]


class Curved(LightningModule):
    """A module whose loss after n steps is that of a curve; in training 9 where that is none."""

    def __init__(self, curve: Curve) -> None:
        super().__init__()
        self.curve = curve
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.data = [torch.zeros(7, 1)]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.curve(self.global_step)
        return self.weight.sum() * 0 + (loss if isfinite(loss) else 9.0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.curve(self.global_step))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Batches:
        return Batches(self.data, 1, shuffle=False, seed=0)

    def val_dataloader(self) -> InOrder:
        return InOrder(self.data, 7)


def train(
    curve: Curve,
    objective: Objective = LOSS,
    spaced: bool = True,
    every: int = 2,
    ckpt_path: Path | None = None,
    callbacks: Iterable[Any] = (),
    **options: Any,
) -> tuple[Trainer, StopAtTarget, list[int]]:
    """Trains a curve, at most 400 steps; gives the steps of its validations, too."""
    monitor = OptimizerMonitor(write_every=5)
    validations, stop = Validations(monitor), StopAtTarget(objective, monitor)
    batches = options.get("accumulate_grad_batches", 1) * every
    spacing = [SpacedValidations(objective, batches)] if spaced else []
    limits = {"check_val_every_n_epoch": None, "val_check_interval": batches, "max_steps": 400}
    limits |= {"max_epochs": -1}
    trainer = quiet_trainer(
        [monitor, validations, stop, *spacing, *callbacks], **(limits | options)
    )
    trainer.fit(Curved(curve), ckpt_path=ckpt_path, weights_only=True)
    return trainer, stop, [int(row["steps"]) for row in validations.rows]


def test_a_run_ends_at_the_first_validation_that_is_at_its_target():
    trainer, stop, steps = train(lambda n: 1 / (n + 1), spaced=False, every=1)
    assert (trainer.global_step, stop.reached) == (3, 0.25)  # 1/4 is at a target of 1/4
    assert steps == [1, 2, 3]
    accuracy = Objective("val/loss", "max", 0.25)
    trainer, stop, _ = train(lambda n: n / 16, accuracy, spaced=False)
    assert (trainer.global_step, stop.reached) == (4, 0.25)


def test_a_run_that_never_is_at_its_target_takes_all_its_steps():
    trainer, stop, _ = train(lambda n: 0.26 if n % 3 else nan, max_steps=30)
    assert (trainer.global_step, stop.reached) == (30, None)
    endless = Objective("val/loss", "min", None)
    trainer, stop, _ = train(lambda n: 0.0, endless, spaced=False, max_steps=4)
    assert (trainer.global_step, stop.reached) == (4, None)


def test_a_number_of_the_training_ends_a_run_where_it_is_written():
    trainer, stop, _ = train(
        lambda n: 1 / (n + 1), Objective("train/loss", "min", 0.25), spaced=False
    )
    assert stop.reached == 0.25  # of step 3
    assert trainer.global_step == 5


CURVES: dict[str, Curve] = {
    "exponential": lambda n: 20 * exp(-n / 40),
    "power law": lambda n: 4 / (1 + n) ** 0.5,
    "to an asymptote": lambda n: 0.24 + exp(-n / 30),
    "straight": lambda n: 1 - n / 350,
    "a jump first": lambda n: 5.0 if n < 4 else 1 - n / 350,
    "infinite first": lambda n: inf if n < 9 else 3 * exp(-n / 40),
}


@pytest.mark.parametrize("name", CURVES)
def test_spaced_validations_find_the_target_where_all_validations_do(name):
    full, _, every_other = train(CURVES[name], spaced=False)
    spaced, _, some = train(CURVES[name])
    assert spaced.global_step == full.global_step < 400
    assert set(some) < set(every_other)
    assert len(some) <= 0.75 * len(every_other)


@pytest.mark.parametrize(("noise", "constant"), [(0.05, 60), (0.1, 200)])
def test_spaced_validations_find_what_noise_brings_to_the_target(noise, constant):
    def read(seed: int, n: int) -> float:
        return 0.2 + 3 * exp(-n / constant) + Random(1000 * seed + n).gauss(0, noise)

    found = 0
    for seed in range(100):
        first = next(n for n in range(2, 2000, 2) if LOSS.is_reached(read(seed, n)))
        spacing, n = SpacedValidations(LOSS, 2), 2
        while n < first:
            n = spacing.find_next(n, read(seed, n))
        found += n == first
    assert found >= 95


def test_of_a_curve_that_falls_late_the_target_is_found_within_a_quarter_of_the_steps():
    def curve(n: int) -> float:
        return 1.0 if n < 203 else 0.2

    _, _, steps = train(curve)
    assert 204 <= steps[-1] <= 1.25 * 204
    assert len(steps) < 25


def test_validations_are_spaced_in_steps_under_accumulation():
    _, _, plain = train(CURVES["exponential"])
    trainer, _, steps = train(CURVES["exponential"], accumulate_grad_batches=7)  # an epoch
    assert trainer.global_step == plain[-1]
    assert steps == plain


@pytest.mark.parametrize("stop", [1, 5, 6, 13, 20, 33, 40])
def test_a_resumed_run_has_the_same_validations_and_the_same_end(tmp_path, stop):
    def curve(n: int) -> float:
        return 3 * exp(-n / 15) + (0.02 if n % 4 else 0)

    whole, _, steps = train(curve)
    folder = {"default_root_dir": tmp_path, "callbacks": [Checkpoint()]}
    train(curve, max_steps=stop, **folder)
    path = tmp_path / "checkpoints" / "last.ckpt"
    resumed, _, others = train(curve, ckpt_path=path, **folder)
    assert others == steps
    assert resumed.global_step == whole.global_step == 40
    again, at_target, others = train(curve, ckpt_path=path, **folder)
    assert (again.global_step, others) == (40, steps)
    assert at_target.reached == pytest.approx(curve(40))
