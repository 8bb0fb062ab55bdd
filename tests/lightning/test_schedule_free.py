"""Schedule-Free under a Trainer: the paper's path, and x for all who look between the steps."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.precision import MixedPrecision

from scratchopt import ScheduleFreeAdamW, ScheduleFreeSGD
from scratchopt.batches import Batches, InOrder
from scratchopt.lightning import (
    Checkpoint,
    Convergence,
    Lookahead,
    MeanGradient,
    OptimizerMonitor,
)
from tests.shared import paper
from tests.shared.trainers import quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]
SHIFTS = torch.linspace(-2, 2, 16, dtype=torch.float64)
SETTINGS: dict[Any, dict[str, Any]] = {
    ScheduleFreeSGD: {"lr": 0.5, "momentum": 0.6, "warmup_steps": 5, "r": 0.5},
    ScheduleFreeAdamW: {"lr": 0.1, "betas": (0.6, 0.9), "weight_decay": 0.1, "warmup_steps": 5},
}
LINES = {ScheduleFreeSGD: paper.schedule_free_sgd, ScheduleFreeAdamW: paper.schedule_free_adamw}
CLASS = pytest.mark.parametrize("cls", LINES, ids=lambda cls: cls.__name__)
EPOCHS, MOST = 3, 0.4  # the largest norm of a gradient


class Curved(LightningModule):
    """The mean of sin(θ + b) + θ²/10 over a batch of b, with what it was evaluated at."""

    def __init__(self, cls: Any) -> None:
        super().__init__()
        self.x = torch.nn.Parameter(torch.tensor([2.5, -1.0], dtype=torch.float64))
        self.cls = cls
        self.evaluated: list[np.ndarray] = []
        self.validated: list[np.ndarray] = []

    def training_step(self, batch, batch_idx):
        self.evaluated.append(self.x.detach().numpy().copy())
        (b,) = batch
        return (torch.sin(self.x + b[:, None]) + self.x**2 / 10).sum(1).mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append(self.x.detach().numpy().copy())

    def configure_optimizers(self):
        return self.cls(self.parameters(), **SETTINGS[self.cls])

    def train_dataloader(self) -> Any:
        return Batches([SHIFTS], 2, shuffle=False, seed=0)

    def val_dataloader(self) -> Any:
        return InOrder([SHIFTS[:1]], 1)


def expect(cls: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The paper's x before each step and at the end, and its y, of steps of two batches."""
    theta, s, points = np.array([2.5, -1.0]), paper.Memory(), []
    path = [theta]

    def gradient(y, b):
        points.append(y)
        g = np.cos(y + b[:, None]).mean(0) + y / 5
        return paper.clip_by_norm(g, MOST)

    for _ in range(EPOCHS):
        for b in SHIFTS.numpy().reshape(4, 4):
            theta = LINES[cls](theta, s, lambda y, b=b: gradient(y, b), **SETTINGS[cls])
            path.append(theta)
    return path, points


class Saving(Callback):
    """Saves a checkpoint within an epoch, between two batches of a step or after one."""

    def __init__(self, path: Any, batches: int) -> None:
        self.path, self.batches, self.count = path, batches, 0

    def on_train_batch_end(self, trainer, *args, **kwargs):
        self.count += 1
        if self.count == self.batches:
            trainer.save_checkpoint(self.path)


def train(module, *callbacks, ckpt_path=None, **options) -> Any:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    settings = {
        "max_epochs": EPOCHS,
        "accumulate_grad_batches": 2,
        "val_check_interval": 2,
        "gradient_clip_val": MOST,
        "plugins": [MixedPrecision("16-mixed", "cpu", scaler)],
        "use_distributed_sampler": False,
    }
    trainer = quiet_trainer([Lookahead(), MeanGradient(), *callbacks], **(settings | options))
    trainer.fit(module, ckpt_path=ckpt_path)
    return module


@CLASS
def test_it_is_the_papers_path_with_all_that_a_trainer_does(cls, tmp_path):
    """To 1e-12: accumulation, a GradScaler, clipping, validations and a resume within an epoch."""
    path, points = expect(cls)
    whole = train(Curved(cls), Saving(tmp_path / "now.ckpt", 14))
    np.testing.assert_allclose(whole.x.detach(), path[-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole.evaluated[::2], points, rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole.validated, path[1:], rtol=0, atol=1e-12)
    saved = torch.load(tmp_path / "now.ckpt", weights_only=True)["state_dict"]["x"]
    np.testing.assert_allclose(saved, path[7], rtol=0, atol=1e-12)
    resumed = train(Curved(cls), ckpt_path=tmp_path / "now.ckpt")
    assert torch.equal(resumed.x, whole.x)
    assert np.array_equal(resumed.evaluated, whole.evaluated[14:])
    assert np.array_equal(resumed.validated, whole.validated[7:])


@CLASS
def test_between_the_batches_of_a_step_module_and_checkpoint_have_x(cls, tmp_path):
    module, path = Curved(cls), expect(cls)[0]
    train(module, Saving(tmp_path / "now.ckpt", 11), val_check_interval=1)
    saved = torch.load(tmp_path / "now.ckpt", weights_only=True)["state_dict"]["x"]
    np.testing.assert_allclose(saved, path[5], rtol=0, atol=1e-12)
    seen = [path[(batch + 1) // 2] for batch in range(24)]
    np.testing.assert_allclose(module.validated, seen, rtol=0, atol=1e-12)


@CLASS
def test_an_average_of_weights_is_of_x(cls):
    averaging = WeightAveraging(device="cpu")
    module = train(Curved(cls), averaging)  # whose weights are the average's at the end
    path, _ = expect(cls)
    mean = np.mean(path[1:], axis=0)
    np.testing.assert_allclose(module.x.detach(), mean, rtol=0, atol=1e-12)


@CLASS
def test_the_monitor_measures_the_step_of_x_and_the_gradient_at_y(cls, tmp_path):
    monitor = OptimizerMonitor()
    train(Curved(cls), monitor, Checkpoint(), default_root_dir=tmp_path)
    path, points = expect(cls)
    moved = [np.linalg.norm(b - a) for a, b in pairwise(path)]
    assert [value for _, value in monitor.history["train/velocity"]] == pytest.approx(moved)
    assert len(points) == len(moved)


@CLASS
def test_a_run_has_converged_where_x_is_near_enough(cls):
    """Its y passes by the solution sooner, and x is what is left."""
    path, points = expect(cls)
    solution = points[5]

    def near_to(goal: np.ndarray) -> Convergence:
        def distance(module: Any) -> float:
            return np.abs(module.x.detach().numpy() - goal).max()

        return Convergence(1e-9, distance)

    near = near_to(solution)
    train(Curved(cls), near)
    assert not near.converged
    near = near_to(path[5])
    module = train(Curved(cls), near)
    assert near.converged
    np.testing.assert_allclose(module.x.detach(), path[5], rtol=0, atol=1e-12)
    assert len(module.evaluated) == 12
