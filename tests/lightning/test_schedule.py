"""Schedule: any module's optimizer follows a schedule, step by step, whatever the Trainer does."""

from collections.abc import Callable
from functools import partial
from math import cos, pi
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset

from scratchopt.lightning import LiveLoss, Lookahead, OptimizerMonitor, Schedule
from scratchopt.schedules import constant, cosine, linear, one_cycle, step
from tests.shared.cases import CASES, REPRESENTATIVES, take_step
from tests.shared.trainers import quiet_trainer

STEPS = 12
TARGETS = torch.randn(STEPS, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class HalfSquares(LightningModule):
    """½‖p − c‖², of another c in each batch."""

    def __init__(self, configure: Callable[..., Any]) -> None:
        super().__init__()
        self.p = torch.nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
        self.configure = configure

    def training_step(self, batch, batch_idx):
        return loss_of(self.p, batch)

    def configure_optimizers(self):
        return self.configure(self.parameters())

    def train_dataloader(self) -> Any:
        data: Any = list(TARGETS)
        return DataLoader(data, batch_size=None)


def loss_of(p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return ((p - target) ** 2).sum() / 2


def train(module: Any, make: Callable[..., Any], **options: Any) -> OptimizerMonitor:
    """Trains for an epoch; returns what the monitor saw."""
    monitor = OptimizerMonitor(1)
    callbacks = [Schedule(make), Lookahead(), monitor, LiveLoss()]
    quiet_trainer(callbacks, **{"max_epochs": 1} | options).fit(module)
    return monitor


def nag(params: Any) -> Any:
    return CASES["nag"].cls(params, **CASES["nag"].settings)


SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": partial(constant, warmup=4),
    "cosine": partial(cosine, warmup=3, end_factor=0.1),
    "linear": partial(linear, warmup=2),
    "step": partial(step, warmup=2, gamma=0.5),
    "one_cycle": one_cycle,
    "cosine, rising momentum": partial(cosine, warmup=3, momentum_rise=2),
    "one_cycle, cycled momentum": partial(one_cycle, base_momentum=0.4),
}


def can_rise(name: str) -> bool:
    """Tells whether a method's momentum, or its β₁, is beyond the ½ from which it rises."""
    settings = CASES[name].cls([torch.nn.Parameter(torch.ones(1))], **CASES[name].settings).defaults
    return settings.get("momentum", settings.get("betas", [0])[0]) > 0.5


PRODUCT = [
    pytest.param(
        name,
        kind,
        id=f"{name}-{kind}",
        marks=()
        if name == "nag" or (name in REPRESENTATIVES and kind == "cosine")
        else pytest.mark.full,
    )
    for name in CASES
    for kind in SCHEDULES
    if "momentum" not in kind or can_rise(name)
]


def values_of(optimizer: Any) -> dict[str, Any]:
    [group] = optimizer.param_groups
    return {key: group[key] for key in ("lr", "momentum", "betas") if key in group}


def schedule_of(name: str, make: Callable[..., Any]) -> list[dict[str, Any]]:
    """The values at each step, by torch's scheduler on an optimizer that does nothing else."""
    idle: Any = CASES[name].cls([torch.nn.Parameter(torch.ones(1))], **CASES[name].settings)
    told = {} if getattr(make, "func", make) is constant else {"total_steps": STEPS}
    scheduler, found = make(idle, **told), []
    for _ in range(STEPS):
        found.append(values_of(idle))
        idle._opt_called = True  # as a step would, of which torch warns where it is missing
        scheduler.step()
    return found


@pytest.mark.parametrize(("name", "kind"), PRODUCT)
def test_every_method_follows_every_schedule_as_in_a_loop_by_hand(name, kind):
    """Bit for bit; the gradient point of an exact NAG is that of the step's own μ."""
    module = HalfSquares(lambda params: CASES[name].cls(params, **CASES[name].settings))
    monitor = train(module, SCHEDULES[kind])
    p = torch.nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
    optimizer, losses = CASES[name].cls([p], **CASES[name].settings), []
    schedule = schedule_of(name, SCHEDULES[kind])
    for values, target in zip(schedule, TARGETS, strict=True):
        optimizer.param_groups[0].update(values)
        losses.append(take_step(optimizer, lambda: loss_of(p, target)).item())  # noqa: B023
    assert torch.equal(module.p, p)
    assert [x for _, x in monitor.history["train/loss"]] == losses
    assert [x for _, x in monitor.history["train/lr"]] == [values["lr"] for values in schedule]
    if "momentum" in kind:
        momenta = [v["momentum"] if "momentum" in v else v["betas"][0] for v in schedule]
        assert [x for _, x in monitor.history["train/momentum"]] == momenta
        assert len(set(momenta)) > 2


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_epochs": 2}, 2 * STEPS),
        ({"max_epochs": 2, "accumulate_grad_batches": 5}, 2 * 3),  # 5, 5 and 2 batches
        ({"max_steps": 7}, 7),
        ({"max_steps": 17, "max_epochs": -1}, 17),
        ({"max_epochs": 1, "limit_train_batches": 4}, 4),
    ],
    ids=str,
)
def test_the_length_is_that_of_the_run_in_steps(options, steps):
    monitor = train(HalfSquares(nag), cosine, **options)
    peak = CASES["nag"].settings["lr"]
    expected = [peak * (1 + cos(pi * t / steps)) / 2 for t in range(steps)]
    assert [x for _, x in monitor.history["train/lr"]] == pytest.approx(expected, rel=1e-9)


class Stream(IterableDataset):
    """Batches of which nobody knows how many there are."""

    def __iter__(self):
        return iter(TARGETS)


def test_a_run_of_no_known_length_is_told_to_have_one():
    class Streamed(HalfSquares):
        def train_dataloader(self) -> Any:
            return DataLoader(Stream(), batch_size=None)

    with pytest.raises(ValueError, match="no end that is known in advance: give max_steps"):
        train(Streamed(nag), cosine)
    assert len(train(Streamed(nag), partial(constant, warmup=3)).history["train/lr"]) == STEPS


def test_torch_s_own_schedulers_serve_too():
    monitor = train(HalfSquares(nag), partial(lr_scheduler.ExponentialLR, gamma=0.5))
    lrs = [x for _, x in monitor.history["train/lr"]]
    assert lrs == pytest.approx([0.05 * 0.5**t for t in range(STEPS)], rel=1e-12)


def test_groups_of_other_lrs_are_logged_where_they_differ():
    def configure(params: Any) -> Any:
        [p] = params
        other = {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.2, "momentum": 0.9}
        return CASES["momentum"].cls([{"params": [p]}, other], lr=0.1, momentum=0.9)

    history = train(HalfSquares(configure), partial(linear, momentum_rise=4)).history
    assert [x for _, x in history["train/lr_1"]] == [2 * x for _, x in history["train/lr"]]
    assert "train/momentum_1" not in history


def test_a_module_without_a_schedule_logs_no_lr():
    monitor = OptimizerMonitor(1)
    quiet_trainer([Lookahead(), monitor], max_epochs=1).fit(HalfSquares(nag))
    assert not {"train/lr", "train/momentum"} & monitor.history.keys()


class ByHand(HalfSquares):
    """It steps its optimizer itself."""

    def __init__(self, configure: Callable[..., Any]) -> None:
        super().__init__(configure)
        self.automatic_optimization = False


def with_its_own(params: Any) -> Any:
    optimizer = nag(params)
    return [optimizer], [lr_scheduler.StepLR(optimizer, 3)]


@pytest.mark.parametrize(
    ("module", "make", "words"),
    [
        (ByHand(nag), cosine, "ByHand steps its optimizers itself"),
        (HalfSquares(with_its_own), cosine, "HalfSquares brings a schedule of its own, StepLR"),
        (HalfSquares(nag), lr_scheduler.ReduceLROnPlateau, "follows a metric, and not the steps"),
    ],
    ids=["manual", "its own", "plateau"],
)
def test_what_a_schedule_cannot_be_given_to_is_refused(module, make, words):
    with pytest.raises(ValueError, match=words):
        train(module, make)
