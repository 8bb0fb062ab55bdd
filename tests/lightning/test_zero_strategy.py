"""ZeRO as a strategy: the runs of DDP, checkpoints that any strategy reads, what is refused."""

import json
import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BackboneFinetuning, LearningRateFinder, WeightAveraging
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim import lr_scheduler

from scratchopt import NAG, Adam, Muon, Newton
from scratchopt.batches import Batches, InOrder
from scratchopt.lightning import (
    Checkpoint,
    LiveLoss,
    Lookahead,
    MeanGradient,
    OptimizerMonitor,
    RandomState,
    Recorder,
    ZeRO,
)
from tests.shared.checkpoints import differences
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
STAGES = ("zero1", "zero2", "zero3")
SAVED = "checkpoints/last.ckpt"
EXAMPLES, BATCH = 60, 12  # of all processes together
MAKERS: dict[str, Any] = {
    "adam": partial(Adam, lr=0.01, weight_decay=0.01),
    "nag": partial(NAG, lr=0.05, momentum=0.9),
    "muon": partial(Muon, lr=0.02),
}
# What a Trainer does, by name: the options, and which module.
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated, clipped by norm": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
    "clipped by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "float64": {"precision": "64-true"},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
    "16-mixed": {"scaler": True},
    "validated in mid-epoch": {"val_check_interval": 2},
    "one of two optimizers at a time": {"by_hand": True},
}


class Net(LightningModule):
    """A net of units, with running statistics, a dropout, and a weight that is in no unit."""

    def __init__(self, optimizer: Any, plain: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.optimizer = optimizer
        self.scale = nn.Parameter(torch.ones(6))
        trouble = () if plain else (nn.BatchNorm1d(7), nn.Dropout(0.2))
        self.net = nn.Sequential(nn.Linear(6, 7), *trouble, nn.Tanh(), nn.Linear(7, 5, bias=False))
        self.head = nn.ModuleList([nn.Linear(5, 3)])
        self.losses: list[Tensor] = []
        generator = torch.Generator().manual_seed(1)
        self.data = (
            torch.randn(EXAMPLES, 6, generator=generator),
            torch.randint(3, (EXAMPLES,), generator=generator),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head[0](self.net(x * self.scale))

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.losses.append(self.loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        return [optimizer], [
            {"scheduler": lr_scheduler.ExponentialLR(optimizer, 0.98), "interval": "step"}
        ]

    def train_dataloader(self) -> Any:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        size = BATCH // world_size
        return Batches(self.data, size, shuffle=True, seed=2, rank=rank, world_size=world_size)

    def val_dataloader(self) -> Any:
        return InOrder(self.data, EXAMPLES)


class ByHand(Net):
    """Two optimizers, each with its own loss, stepped by hand."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        rest = [self.scale, *self.head.parameters()]
        return [self.optimizer(self.net.parameters()), self.optimizer(rest)]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():  # pyright: ignore[reportGeneralTypeIssues]
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


def fit(module: Net, folder: Path, steps: int = 8, resumed: Any = None, **options: Any) -> Any:
    """Trains with all that a run has; returns the Trainer."""
    if options.pop("scaler", False):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**19)
        options["plugins"] = MixedPrecision("16-mixed", "cpu", scaler)
    callbacks = [
        *(Lookahead(), MeanGradient(), OptimizerMonitor(every=1, layers=True)),
        *(Recorder(every=3), LiveLoss(), Checkpoint(steps=1), RandomState()),
    ]
    callbacks += options.pop("callbacks", [])
    options = {"default_root_dir": folder, "max_steps": steps, "max_epochs": 100, **options}
    trainer = quiet_trainer(callbacks, use_distributed_sampler=False, **options)
    trainer.fit(module, ckpt_path=resumed, weights_only=True)
    return trainer


ROWS = [
    *(("plain", maker) for maker in MAKERS),
    *((run, "nag" if "clipped" in run else "adam") for run in RUNS if run != "plain"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two processes have trained under DDP and each stage."""
    folder = tmp_path_factory.mktemp("two")
    run_by_two(__name__, "compare", folder)
    return folder


@pytest.mark.parametrize("strategy", STAGES)
@pytest.mark.parametrize(("run", "maker"), ROWS)
def test_a_run_is_that_of_ddp_to_the_last_bit(run, maker, strategy, folder):
    """So are its checkpoint and its records; the monitor adds up its norms in another order.

    In bfloat16 torch rounds `add(alpha=...)` otherwise at the end of a tensor than within it, and a
    piece ends elsewhere.
    """
    of_ddp, ours = (folder / f"{run}, {maker}, {kind}" for kind in ("ddp", strategy))
    saved = [torch.load(place / SAVED, weights_only=True) for place in (of_ddp, ours)]
    logged, own = (c["callbacks"]["OptimizerMonitor"].pop("values") for c in saved)
    ends = [torch.load(place / "1.pt", weights_only=True) for place in (of_ddp, ours)]
    if run == "bf16-true":
        assert torch.allclose(logged["train/loss"], own["train/loss"], atol=0.02)
        return
    assert not differences(*saved)
    assert not differences(*ends)
    assert logged.keys() == own.keys()
    for tag, values in logged.items():
        least = 0.05 if "angle" in tag else 1e-6  # of degrees, where a cosine is nearly 1
        assert torch.allclose(values, own[tag], rtol=1e-4, atol=least, equal_nan=True), tag
    records = "path/records.bin"
    assert (ours / records).read_bytes() == (of_ddp / records).read_bytes()


def _compare(folder: Path, rank: int) -> None:
    """Trains under DDP and each stage, in one of two processes."""
    for run, maker in ROWS:
        for strategy in ("ddp", *STAGES):
            options = {"devices": 2, "strategy": strategy, **RUNS[run]}
            if strategy == "ddp":
                options["strategy"] = "ddp_find_unused_parameters_true"
            kind = ByHand if options.pop("by_hand", False) else Net
            name, module = f"{run}, {maker}, {strategy}", kind(MAKERS[maker])
            fit(module, folder / name, **options)
            end = {
                "parameters": [p.detach() for p in module.parameters()],
                "validated": module.losses,
            }
            torch.save(end, folder / name / f"{rank}.pt")


# Checkpoints

CHAIN = (("zero1", 2), ("zero3", 3), ("auto", 1), ("fsdp2", 2), ("zero2", 2), ("ddp", 2))


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Path:
    """Where runs went on from each other's checkpoints, four steps each, within epochs of five."""
    folder = tmp_path_factory.mktemp("chain")
    for link, (_, processes) in enumerate(CHAIN):
        run_by_two(__name__, "link", folder, link, processes=processes)
    return folder


@pytest.mark.parametrize("maker", MAKERS)
def test_strategies_go_on_from_each_other_s_checkpoints(maker, chain, tmp_path):
    """Sums over other numbers of processes are added in another order, and rounded otherwise."""
    for link in range(len(CHAIN)):
        saved = torch.load(chain / f"{maker} {link}" / SAVED, weights_only=True)
        module = Net(MAKERS[maker], plain=True)
        fit(module, tmp_path / str(link), 4 * (link + 1), precision="64-true")
        alone = torch.load(tmp_path / str(link) / SAVED, weights_only=True)
        assert saved["global_step"] == alone["global_step"] == 4 * (link + 1)
        for key in ("state_dict", "optimizer_states"):
            assert near(alone[key], saved[key])


def near(a: Any, b: Any) -> bool:
    """Compares two nested structures of tensors and plain values, to 1e-12."""
    if isinstance(a, Tensor):
        return torch.allclose(a, b, rtol=0, atol=1e-12)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(near, a, b))
    return a == b


def _link(folder: Path, link: int) -> None:
    strategy, processes = CHAIN[link]
    for maker in MAKERS:
        fit(
            Net(MAKERS[maker], plain=True),
            folder / f"{maker} {link}",
            4 * (link + 1),
            folder / f"{maker} {link - 1}" / SAVED if link else None,
            strategy=strategy,
            devices=processes,
            precision="64-true",
        )


# What is refused


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> dict[str, str]:
    """What two processes were told."""
    folder = tmp_path_factory.mktemp("refused")
    run_by_two(__name__, "refuse", folder)
    return json.loads((folder / "0.json").read_text())


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("newton", "Newton needs all parameters in each process: use strategy='ddp'"),
        ("fused", "AdamW with fused=True looks for gradients that overflow in its own process"),
        ("averaged", "WeightAveraging averages whole parameters, of which each process has pieces"),
        ("finetuned", "BackboneFinetuning gives the optimizer parameters after the others"),
        ("saved by one", "process 0 asked for the whole parameters, and another of the 2 has not"),
    ],
)
def test_it_is_refused_in_one_line(asked, answer, refused):
    assert answer in refused[asked]
    assert "\n" not in refused[asked]


def test_a_fit_after_a_search_for_a_learning_rate_is_that_of_ddp(refused):
    assert refused["searched, zero1"] == refused["searched, zero3"] == refused["searched, ddp"]


def test_a_trainer_saves_the_module_that_it_has(refused):
    assert refused["the last module"] is True


class Sought(Net):
    """Has a learning rate that is looked for."""

    def __init__(self) -> None:
        super().__init__(None, plain=True)
        self.lr = 0.01

    def configure_optimizers(self) -> Any:
        return Adam(self.parameters(), lr=self.lr)


def _search(folder: Path, strategy: str) -> Any:
    """Trains after a search; returns the module, and the Trainer."""
    module = Sought()
    trainer = quiet_trainer(
        [LearningRateFinder(num_training_steps=6)],
        default_root_dir=folder,
        max_steps=8,
        devices=2,
        strategy=strategy,
        use_distributed_sampler=False,
    )
    trainer.fit(module)
    return module, trainer


class SavedByOne(Net):
    """Asks in one process alone for a checkpoint."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trainer.strategy.stage.processes.patience = 2.0  # pyright: ignore
        if self.trainer.is_global_zero:
            self.trainer.save_checkpoint("alone.ckpt")
        else:
            time.sleep(4)  # the first is gone by then


def _refuse(folder: Path, rank: int) -> None:
    came: dict[str, Any] = {}
    for strategy in ("ddp", "zero1", "zero3"):
        trained, trainer = _search(folder, strategy)
        came[f"searched, {strategy}"] = [p.tolist() for p in trained.parameters()]
    last = Sought()
    trainer.validate(last, verbose=False)
    trainer.save_checkpoint(folder / "last.ckpt", weights_only=True)
    saved = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    came["the last module"] = torch.equal(saved["scale"], last.scale)
    adam, two = MAKERS["adam"], {"strategy": "zero2"}
    asked: dict[str, tuple[Any, dict[str, Any]]] = {
        "newton": (Net(Newton), two),
        "fused": (Net(partial(torch.optim.AdamW, fused=True)), {"scaler": True, **two}),
        "averaged": (Net(adam), {"strategy": "zero3", "callbacks": [WeightAveraging()]}),
        "finetuned": (Net(adam), {"callbacks": [BackboneFinetuning()], **two}),
        "saved by one": (SavedByOne(adam), two),
    }
    for name, (module, options) in asked.items():
        if name == "finetuned":
            module.backbone = module.net
        try:
            fit(module, folder / name, devices=2, **options)
        except RuntimeError as error:
            came[name] = str(error)
    Path(folder, f"{rank}.json").write_text(json.dumps(came))


def test_another_stage_is_refused():
    with pytest.raises(ValueError, match=r"Invalid stage: 4 \(1, 2 or 3\)"):
        ZeRO(stage=4)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    place = Path(sys.argv[2])
    if sys.argv[1] == "link":
        _link(place, int(sys.argv[3]))
    else:
        work = {"compare": _compare, "refuse": _refuse}[sys.argv[1]]
        work(place, int(os.environ["RANK"]))
