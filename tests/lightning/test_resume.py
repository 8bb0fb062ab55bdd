"""A run that is broken off anywhere goes on, from its last checkpoint, bit for bit."""

import json
import os
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from enum import Enum
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, seed_everything
from lightning.pytorch.callbacks import BaseFinetuning, EarlyStopping
from lightning.pytorch.plugins.precision import MixedPrecision
from omegaconf import OmegaConf
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from scratchopt.batches import Batches
from scratchopt.lightning import (
    Checkpoint,
    LiveLoss,
    Lookahead,
    OptimizerMonitor,
    RandomState,
    Recorder,
    Schedule,
)
from scratchopt.runs.checkpoints import DamagedCheckpoint, is_resumable, read_checkpoint
from scratchopt.schedules import cosine, one_cycle
from tests.shared.cases import CASES, row
from tests.shared.checkpoints import differences, same
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.. before .optimizer.step"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning's, of a layer that a checkpoint had thawed and that is thawed once more.
    pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist"),
]
PAIRS = ["-".join(pair) for pair in product(("ddp", "fsdp2"), ("adam", "sgd", "nag"))]
EPOCHS, LAST = 3, Path("checkpoints", "last.ckpt")
HOOKS = [
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_start",
    "on_validation_end",
    "on_train_epoch_end",
    "on_save_checkpoint",
    "on_train_end",
]


class Dropped(LightningModule):
    """Two inputs, eight hidden units of which half are dropped, one output."""

    def __init__(self, configure: Callable[..., Any]) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Linear(8, 1)
        ).double()
        self.configure = configure
        inputs = torch.randn(24, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        self.data = inputs, inputs.sum(1, keepdim=True)
        self.validated: dict[int, float] = {}

    def training_step(self, batch, batch_idx) -> Any:
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.net(inputs), targets)
        self.log("train/l", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        loss = torch.nn.functional.mse_loss(self.net(self.data[0]), self.data[1])
        self.validated[self.trainer.fit_loop.total_batch_idx] = loss.item()
        self.log("val/loss", loss, batch_size=24)

    def configure_optimizers(self):
        return self.configure(self.parameters())

    def train_dataloader(self) -> Any:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return Batches(
            self.data, 4 // world_size, shuffle=True, seed=0, rank=rank, world_size=world_size
        )

    def val_dataloader(self):
        return [0]


class Broken(RuntimeError):
    """The run was broken off."""


class BreakOff(Callback):
    """Raises at the n-th of all its hooks; counts them. It comes last in each hook."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count = at, 0

    def _here(self, *args: Any, **kwargs: Any) -> None:
        self.count += 1
        if self.count == self.at:
            raise Broken


for _hook in HOOKS:
    setattr(BreakOff, _hook, BreakOff._here)


def train(
    folder: Path, configure: Callable[..., Any], at: int | None = None, **options: Any
) -> tuple[Dropped, int]:
    """A run from the folder's checkpoint, if any, broken off at a hook; and how many it had."""
    seed_everything(0, verbose=False)
    module, broken = options.pop("module", Dropped)(configure), BreakOff(at)
    checkpoint = options.pop("checkpoint", None) or Checkpoint(steps=options.pop("steps", 1))
    if "scale" in options:
        scaler = torch.amp.GradScaler("cpu", init_scale=options.pop("scale"), growth_interval=3)
        options["plugins"] = [MixedPrecision("16-mixed", "cpu", scaler)]
    callbacks = [
        *(Lookahead(), OptimizerMonitor(3), LiveLoss(), RandomState(), checkpoint),
        *options.pop("more", list)(),
        broken,
    ]
    settings = {"max_epochs": EPOCHS, "use_distributed_sampler": False} | options
    trainer = quiet_trainer(callbacks, default_root_dir=folder, **settings)
    path = folder / LAST
    with suppress(Broken):
        trainer.fit(module, ckpt_path=path if path.exists() else None, weights_only=True)
    return module, broken.count


def final(folder: Path) -> dict[str, Any]:
    """The last checkpoint: parameters, states, histories, random numbers, positions."""
    return torch.load(folder / LAST, weights_only=True)


def nag(params: Any) -> Any:
    return CASES["nag"].cls(params, **CASES["nag"].settings)


class MadeSingle(Dropped):
    """Its parameters are float32 until the precision makes them float64."""

    def __init__(self, configure: Callable[..., Any]) -> None:
        super().__init__(configure)
        self.net.float()


class Shuffled(Dropped):
    """With torch's own loader, which cannot go on within an epoch."""

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(*self.data), batch_size=4, shuffle=True)


class OneCycle(Dropped):
    """Its schedule has as many steps as Lightning estimates, which makes the loaders early."""

    def configure_optimizers(self) -> Any:
        optimizer = self.configure(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class ByHand(Dropped):
    """Two optimizers, one of each layer."""

    def __init__(self, configure: Callable[..., Any]) -> None:
        super().__init__(configure)
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [self.configure(self.net[i].parameters()) for i in (0, 3)]

    def training_step(self, batch, batch_idx):
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        for optimizer in optimizers:
            optimizer.step()


def with_schedule(params: Any) -> dict[str, Any]:
    """The lr falls each step."""
    optimizer = nag(params)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.9)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def with_plateau(params: Any) -> dict[str, Any]:
    """The lr falls where the validation loss does not."""
    optimizer = nag(params)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss", "interval": "epoch"},
    }


def of(name: str) -> Callable[..., Any]:
    return lambda params: CASES[name].cls(params, **CASES[name].settings)


def with_plateau_by_step(params: Any) -> dict[str, Any]:
    """The lr falls where the loss of a step does not."""
    made = with_plateau(params)
    return made | {
        "lr_scheduler": made["lr_scheduler"] | {"monitor": "train/l", "interval": "step"}
    }


def stopping() -> list[Callback]:
    """Ends the run where the validation does not get better, which it soon does not."""
    return [EarlyStopping("val/loss", min_delta=0.05, patience=3)]


class Thaw(BaseFinetuning):
    """Adds the first layer to the optimizer at epoch 1, with an lr of its own."""

    def freeze_before_training(self, pl_module: Any):
        self.freeze(pl_module.net[0])

    def finetune_function(self, pl_module: Any, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.net[0], optimizer, lr=0.05)


def of_trained(params: Any) -> Any:
    return nag([p for p in params if p.requires_grad])


def thawing() -> list[Callback]:
    return [Thaw(), Recorder()]


def scheduled() -> list[Callback]:
    return [Schedule(partial(cosine, warmup=3, momentum_rise=2))]


def cycled() -> list[Callback]:
    return [Schedule(partial(one_cycle, base_momentum=0.5))]


WAYS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "plain": (nag, {}),
    "accumulating": (with_schedule, {"accumulate_grad_batches": 2}),
    "a schedule of the estimated steps": (nag, {"module": OneCycle, "accumulate_grad_batches": 4}),
    "a schedule for any module": (nag, {"more": scheduled, "steps": 2}),
    "a cycle for any module": (of("adam"), {"more": cycled, "accumulate_grad_batches": 4}),
    "validating mid-epoch": (with_schedule, {"val_check_interval": 2, "steps": 2}),
    "on a plateau": (with_plateau, {"steps": 4}),
    "by max_steps": (with_schedule, {"max_steps": 15, "max_epochs": -1}),
    "a stop on a validation": (with_schedule, {"val_check_interval": 2, "max_steps": 8}),
    "stopping early": (with_schedule, {"val_check_interval": 2, "steps": 2, "more": stopping}),
    "on a plateau by step": (with_plateau_by_step, {}),
    "a shuffled DataLoader, by epochs": (with_plateau, {"module": Shuffled, "steps": None}),
    "a scaler": (nag, {"scale": 2.0**20}),
    "two optimizers": (nag, {"module": ByHand}),
    "a layer that is thawed": (of_trained, {"steps": 2, "more": thawing}),
    "in float64": (nag, {"module": MadeSingle, "precision": "64-true"}),
}


def gaps(
    folder: Path, configure: Callable[..., Any], stride: int = 1, **options: Any
) -> dict[int, list[str]]:
    """By the hook where a run was broken off: how it differs from a whole one."""
    whole, hooks = train(folder / "whole", configure, **options)
    expected, found = final(folder / "whole"), {}
    assert final(folder / "whole")["global_step"] > 0
    for at in range(1, hooks + 1, stride):
        first, _ = train(folder / str(at), configure, at, **options)
        rest, _ = train(folder / str(at), configure, **options)
        found[at] = differences(expected, final(folder / str(at)))
        for path in (folder / "whole" / "path").glob("*"):
            if path.read_bytes() != (folder / str(at) / "path" / path.name).read_bytes():
                found[at] += [f"{path.name} differs"]
        if first.validated | rest.validated != whole.validated:
            found[at] += [f"{first.validated} and {rest.validated} are not {whole.validated}"]
    return {at: differences[:3] for at, differences in found.items() if differences}


@pytest.mark.parametrize("stride", [17, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_broken_off_at_any_hook_goes_on_bit_for_bit(way, stride, tmp_path):
    configure, options = WAYS[way]
    assert not gaps(tmp_path, configure, stride, **options)


@pytest.mark.parametrize("name", [row(name, name) for name in CASES])
def test_every_optimizer_goes_on_bit_for_bit(name, tmp_path):
    assert not gaps(tmp_path, of(name), 29, accumulate_grad_batches=2)


def test_a_stop_at_max_steps_goes_on_like_a_run_without_one(tmp_path):
    """At 8 a validation is due, whose effects on EarlyStopping belong to the checkpoint."""
    options = {"val_check_interval": 2, "more": stopping, "max_epochs": 3}
    whole, _ = train(tmp_path / "whole", with_schedule, **options)
    train(tmp_path / "parts", with_schedule, max_steps=8, **options)
    train(tmp_path / "parts", with_schedule, **options)
    found = differences(final(tmp_path / "whole"), final(tmp_path / "parts"))
    assert not found
    assert whole.validated


class Mode(Enum):
    MAX = "max"


class Holding(Dropped):
    """Saves values of many types, and has hyperparameters of more."""

    def __init__(self, configure: Callable[..., Any], odd: Any = None) -> None:
        super().__init__(configure)
        self.odd = odd
        self.held: dict[str, Any] = {
            "number": np.float64(0.1),
            "count": np.int32(3),
            "flag": np.bool_(True),
            "array": np.arange(3.0),
            "mode": Mode.MAX,
            "path": Path("a", "b"),
            "list": OmegaConf.create([1, {"a": 2}]),
            "deque": deque([1, 2]),
            "by kind": defaultdict(list, {Mode.MAX: [np.float32(0.5)]}),
        }
        self.save_hyperparameters(self.held | {"sizes": OmegaConf.create({"a": [1, 2]})})

    def on_save_checkpoint(self, checkpoint):
        checkpoint["held"] = self.held | ({"odd": self.odd} if self.odd else {})

    def on_load_checkpoint(self, checkpoint):
        self.held = checkpoint["held"]


def with_numpy_rates(params: Any) -> dict[str, Any]:
    """The lr is one of NumPy's numbers from the first step on."""
    optimizer = nag(params)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: np.float64(0.9) ** step)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


PLAIN = {
    "number": 0.1,
    "count": 3,
    "flag": True,
    "mode": "max",
    "path": str(Path("a", "b")),
    "list": [1, {"a": 2}],
    "deque": [1, 2],
    "by kind": {"max": [0.5]},
}


def test_values_that_are_not_plain_are_saved_as_such(tmp_path):
    assert not gaps(tmp_path, with_numpy_rates, 31, module=Holding)
    saved = final(tmp_path / "whole")
    for held in (saved["held"], saved["hyper_parameters"]):
        assert torch.equal(held["array"], torch.arange(3.0, dtype=torch.float64))
        assert {key: held[key] for key in PLAIN} == PLAIN
        assert {key: type(held[key]) for key in PLAIN} == {k: type(x) for k, x in PLAIN.items()}
    assert saved["hyper_parameters"]["sizes"] == {"a": [1, 2]}
    [rate] = saved["lr_schedulers"][0]["_last_lr"]
    assert type(rate) is float


class Odd:
    """What no checkpoint can be loaded with."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd)

    __hash__ = None  # type: ignore[assignment]


def test_what_cannot_be_plain_is_named_when_it_is_saved(tmp_path):
    def run(odd: Any, folder: str, **options: Any) -> str:
        with pytest.warns(UserWarning) as seen:  # noqa: PT030  (of several warnings)
            train(tmp_path / folder, nag, module=partial(Holding, odd=odd), **options)
        told = [str(w.message) for w in seen if "plain value" in str(w.message)]
        assert len(told) == 1  # at the first of its checkpoints
        return told[0]

    assert f"['held']['odd'][0] is a {__name__}.Odd; make it a plain value" in run([Odd()], "kept")
    with pytest.raises(DamagedCheckpoint, match=rf"holds a {__name__}\.Odd, which is no plain"):
        read_checkpoint(tmp_path / "kept" / LAST)
    assert "['held']['odd'] is a builtins.function" in run(lambda: 0, "lost")
    assert final(tmp_path / "lost")["held"]["odd"] is None
    with pytest.raises(ValueError, match=r"can be resumed from this.*'odd'.* could not be saved"):
        train(tmp_path / "lost", nag, module=Holding, max_epochs=9)


def test_hyperparameters_that_cannot_be_plain_are_left_out(tmp_path):
    class Given(Dropped):
        def __init__(self, configure: Callable[..., Any]) -> None:
            super().__init__(configure)
            self.hparams.update({"odd": Odd(), "width": np.int64(3)})

    with pytest.warns(UserWarning, match=r"Left out .*hyper_parameters\['odd'\] is a .*Odd"):
        train(tmp_path, nag, module=Given, max_epochs=1)
    assert final(tmp_path)["hyper_parameters"] == {"width": 3}
    with pytest.warns(UserWarning, match="Left out"):
        train(tmp_path, nag, module=Given)
    assert final(tmp_path)["global_step"] == 18


def test_a_flipped_byte_anywhere_is_one_error_or_does_no_harm(tmp_path):
    train(tmp_path, nag, max_epochs=1)
    path = tmp_path / LAST
    whole, content = read_checkpoint(path), path.read_bytes()
    draw, flipped = Random(0), tmp_path / "flipped.ckpt"
    places = [*draw.sample(range(len(content)), 300), *range(len(content) - 2000, len(content), 3)]
    harmed = 0
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        flipped.write_bytes(changed)
        if is_resumable(flipped):
            assert same(read_checkpoint(flipped), whole), place
        else:
            harmed += 1
            with pytest.raises(DamagedCheckpoint, match="is damaged; put back a copy of it"):
                read_checkpoint(flipped)
    assert harmed > len(places) / 2
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.ckpt")
    assert not is_resumable(tmp_path / "none.ckpt")


class Scheduled(Dropped):
    """Its schedule is made from the optimizer and the number of steps that the Trainer has."""

    def configure_optimizers(self):
        optimizer = nag(self.parameters())
        scheduler = self.configure(optimizer, self.trainer.max_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def sequence(optimizer: Any, steps: int) -> Any:
    parts = [lr_scheduler.ConstantLR(optimizer), lr_scheduler.CosineAnnealingLR(optimizer, steps)]
    return lr_scheduler.SequentialLR(optimizer, parts, [steps // 3])


SCHEDULES: dict[str, tuple[Callable[..., Any], str]] = {
    "one cycle": (
        lambda o, steps: lr_scheduler.OneCycleLR(o, 0.1, total_steps=steps),
        r"max_steps=12 \(saved: 6\): OneCycleLR goes on with total_steps=6, as saved, not 12",
    ),
    "fixed one cycle": (
        lambda o, _: lr_scheduler.OneCycleLR(o, 0.1, total_steps=6),
        "Resumed for 12 steps in all, and OneCycleLR has total_steps=6: torch ends the run",
    ),
    "cosine": (
        lr_scheduler.CosineAnnealingLR,
        "CosineAnnealingLR goes on with T_max=6, as saved, not 12",
    ),
    "sequence": (sequence, r"T_max=6, as saved, not 12, milestones=\[2\], as saved, not \[4\]"),
    "function": (
        lambda o, steps: lr_scheduler.LambdaLR(o, lambda step: 1 - step / 100),
        "if LambdaLR's function knows the number of steps",
    ),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_of_another_length_is_warned_of_when_a_run_is_resumed(kind, tmp_path):
    make, words = SCHEDULES[kind]
    options: dict[str, Any] = {"module": Scheduled, "max_epochs": -1}
    train(tmp_path, make, max_steps=6, **options)
    ends = pytest.raises(ValueError, match="Tried to step 7 times")
    with pytest.warns(UserWarning, match=words), ends if "one cycle" in kind else nullcontext():
        train(tmp_path, make, max_steps=12, **options)


def test_a_schedule_that_knows_no_length_and_a_run_of_the_same_length_are_not_warned_of(tmp_path):
    options: dict[str, Any] = {"module": Scheduled, "max_epochs": -1}
    train(tmp_path / "other", lambda o, _: lr_scheduler.StepLR(o, 3), max_steps=6, **options)
    train(tmp_path / "other", lambda o, _: lr_scheduler.StepLR(o, 3), max_steps=12, **options)
    train(tmp_path / "same", lr_scheduler.CosineAnnealingLR, 60, max_steps=9, **options)
    module, _ = train(tmp_path / "same", lr_scheduler.CosineAnnealingLR, max_steps=9, **options)
    assert module.trainer.global_step == 9


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_that_outlive_an_epoch_are_warned_of_when_a_run_is_resumed(tmp_path):
    class Persistent(Dropped):
        def train_dataloader(self) -> Any:
            data = TensorDataset(*self.data)
            return DataLoader(data, batch_size=8, num_workers=1, persistent_workers=True)

    train(tmp_path, nag, module=Persistent, max_epochs=1)
    with pytest.warns(UserWarning, match="Resumed with persistent_workers=True"):
        train(tmp_path, nag, module=Persistent, max_epochs=2)


def test_a_step_late_enough_is_saved(tmp_path):
    """Every checkpoint of a run whose steps take longer than the seconds between two."""

    class Steps(Callback):
        saved: ClassVar[list[int]] = []

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            self.saved.append(checkpoint["global_step"])

    def run(seconds: float) -> list[int]:
        Steps.saved.clear()
        options = {"checkpoint": Checkpoint(seconds), "more": lambda: [Steps()], "max_epochs": 1}
        train(tmp_path / str(seconds), nag, **options)
        return Steps.saved

    assert run(1e-9) == [0, 1, 2, 3, 4, 5, 6]
    assert run(1e9) == [0, 6]


@pytest.mark.slow
def test_two_processes_go_on_bit_for_bit(tmp_path):
    run_by_two(__name__, tmp_path, *PAIRS)
    for rank in (0, 1):
        came = json.loads((tmp_path / f"{rank}.json").read_text())
        assert came.pop("alike") is False  # each process drops units of its own
        assert list(came) == PAIRS
        assert not any(came.values()), came


def _process(folder: Path, *pairs: str) -> None:
    torch.set_num_threads(1)
    came: dict[str, Any] = {}
    for pair in pairs:
        strategy, name = pair.split("-")
        options: dict[str, Any] = {"strategy": strategy, "devices": 2, "max_epochs": 2}
        came[pair] = gaps(folder / strategy / name, of(name), 13, **options)
    first, second = final(folder / "ddp" / "adam" / "whole")["callbacks"]["RandomState"][
        "processes"
    ]
    came["alike"] = same(first, second)
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(came))


if __name__ == "__main__":
    _process(Path(sys.argv[1]), *sys.argv[2:])
