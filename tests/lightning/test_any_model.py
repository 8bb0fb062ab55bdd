"""Modules that are not ours: Lightning's own BoringModel, and torch's Transformer."""

from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.nn import functional as F

from scratchopt.lightning import (
    Checkpoint,
    Convergence,
    Figures,
    LiveLoss,
    Lookahead,
    MeanGradient,
    OptimizerMonitor,
    RandomState,
    Recorder,
    Sharpness,
    Validations,
    read_records,
)
from tests.shared.cases import CASES, row, take_step
from tests.shared.trainers import quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # torch's Transformer asks for its faster path and does not always get it.
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
]


def fit(module: LightningModule, folder: Any, callbacks: list[Any], epochs: int = 1) -> Trainer:
    trainer = quiet_trainer(callbacks, default_root_dir=folder, max_epochs=epochs)
    trainer.fit(module)
    return trainer


def all_callbacks() -> list[Any]:
    return [Lookahead(), OptimizerMonitor(), LiveLoss(), RandomState(), Checkpoint()]


def same_parameters(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def boring(row: str | None = None) -> Any:
    """Lightning's module with an optimizer of the table, or its own."""
    seed_everything(0, verbose=False)
    module: Any = BoringModel()
    if row is not None:
        case = CASES[row]
        module.configure_optimizers = lambda: case.cls(module.parameters(), **case.settings)
    return module


@pytest.mark.parametrize("name", [row(name, name, core=True) for name in CASES])
def test_the_boring_model_trains_as_in_a_loop_of_one_s_own(name, tmp_path):
    module, by_hand = boring(name), boring(name)
    fit(module, tmp_path, all_callbacks())
    optimizer: Any = by_hand.configure_optimizers()
    seed_everything(0, verbose=False)
    BoringModel()  # draws the same numbers as the first module did
    for batch in by_hand.train_dataloader():
        take_step(optimizer, lambda batch=batch: by_hand.loss(by_hand(batch)))
    assert same_parameters(module, by_hand)


def test_the_callbacks_leave_a_training_with_torch_s_own_optimizer_as_it_is(tmp_path):
    with_them, without = boring(), boring()
    monitor = OptimizerMonitor()
    trainer = fit(with_them, tmp_path, [*all_callbacks()[:1], monitor, *all_callbacks()[2:]])
    seed_everything(0, verbose=False)
    BoringModel()
    fit(without, tmp_path, [])
    assert same_parameters(with_them, without)
    for tag in ("train/loss", "train/gradnorm", "train/velocity"):
        assert [step for step, _ in monitor.history[tag]] == list(range(trainer.global_step))


def make_line(package: Any) -> type:
    """A module of either package, that clips in its own way."""

    class Line(package.LightningModule):
        def __init__(self, row: str) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.row, self.net, self.clipped = row, torch.nn.Linear(2, 1), 0

        def forward(self, inputs):
            return self.net(inputs)

        def training_step(self, batch, batch_idx):
            return ((self(batch) - 1) ** 2).mean()

        def validation_step(self, batch, batch_idx):
            self.log("val/loss", self.training_step(batch, batch_idx))

        def configure_gradient_clipping(self, optimizer, *args, **kwargs):
            self.clipped += 1
            self.clip_gradients(optimizer, 0.1, "norm")

        def configure_optimizers(self):
            return CASES[self.row].cls(self.parameters(), **CASES[self.row].settings)

        def train_dataloader(self):
            inputs = torch.randn(56, 2, generator=torch.Generator().manual_seed(0)).double()
            return torch.utils.data.DataLoader(inputs, batch_size=8)  # type: ignore[arg-type]

        val_dataloader = train_dataloader

    return Line


def run_with_all_callbacks(package: Any, row: str, folder: Path) -> tuple[Any, ...]:
    """Trains, goes on from the checkpoint, and returns all that came of it."""
    for epochs in (1, 3):
        monitor, sharpness = OptimizerMonitor(), Sharpness(2)
        validations = Validations(monitor)
        callbacks = [
            *(Lookahead(), MeanGradient(), monitor, validations, Recorder(1), LiveLoss()),
            *(sharpness, Convergence(0.0, lambda module: 1.0), RandomState(), Figures()),
            Checkpoint(),
        ]
        last = folder / "checkpoints" / "last.ckpt"
        module = make_line(package)(row)
        package.Trainer(
            default_root_dir=folder,
            callbacks=callbacks,
            max_epochs=epochs,
            accelerator="cpu",
            precision="64-true",
            accumulate_grad_batches=2,
            logger=False,
            enable_checkpointing=package is lightning.pytorch,  # the other's adds one of its own
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        ).fit(module, ckpt_path=last if epochs > 1 else None, weights_only=True)
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in validations.rows]
    records = read_records(folder / "path")[1].tobytes()
    theta = torch.nn.utils.parameters_to_vector(module.parameters()).tolist()
    assert module.clipped == 8
    return theta, monitor.history, sharpness.history, rows, records, figures


@pytest.mark.parametrize(
    "row",
    [
        "nag",
        "newton",
        *(pytest.param(row, marks=pytest.mark.full) for row in ("newton_cg", "adam")),
    ],
)
def test_a_trainer_of_pytorch_lightning_is_one_of_lightning(row, tmp_path):
    ours = run_with_all_callbacks(lightning.pytorch, row, tmp_path / "lightning")
    theirs = run_with_all_callbacks(pytorch_lightning, row, tmp_path / "pytorch_lightning")
    assert ours == theirs
    assert len(ours[1]["train/gradnorm_clipped"]) == 12
    assert ours[5]


class Copier(LightningModule):
    """torch's Transformer learns to copy sequences of eight tokens, and drops units."""

    def __init__(self, row: str) -> None:
        super().__init__()
        self.row = row
        self.embed = torch.nn.Embedding(8, 16)
        self.transformer = torch.nn.Transformer(16, 2, 1, 1, 32, dropout=0.1, batch_first=True)
        self.head = torch.nn.Linear(16, 8)

    def training_step(self, batch, batch_idx):
        tokens = self.embed(batch)
        return F.cross_entropy(self.head(self.transformer(tokens, tokens)).mT, batch)

    def configure_optimizers(self):
        settings = CASES[self.row].settings | {"lr": 0.01}
        return CASES[self.row].cls(self.parameters(), **settings)

    def train_dataloader(self):
        tokens = torch.randint(8, (128, 8), generator=torch.Generator().manual_seed(0))
        return torch.utils.data.DataLoader(tokens, batch_size=32)  # type: ignore[arg-type]


@pytest.mark.parametrize(  # too large for the dense Hessian of newton
    "name", [row(name, name, core=True) for name in CASES if name != "newton"]
)
def test_a_transformer_trains_as_in_a_loop_of_one_s_own(name, tmp_path):
    """With the same dropout masks, too."""
    seed_everything(0, verbose=False)
    module = Copier(name)
    fit(module, tmp_path, all_callbacks(), epochs=3)
    seed_everything(0, verbose=False)
    by_hand = Copier(name)
    optimizer, loader = by_hand.configure_optimizers(), by_hand.train_dataloader()
    for _ in range(3):
        for i, batch in enumerate(loader):
            take_step(optimizer, lambda batch=batch, i=i: by_hand.training_step(batch, i))
    assert same_parameters(module, by_hand)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 12


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")
def test_a_newton_s_transformer_accumulates():
    """Batches whose forward pass runs outside of `step`, and steps of half the batches."""
    trained = []
    for accumulate, batch in ((2, 16), (1, 32)):
        seed_everything(0, verbose=False)
        module: Any = Copier("newton_cg").double().eval()  # no dropout
        module.train = lambda mode=True, module=module: module
        tokens = module.train_dataloader().dataset[:112]
        loader = torch.utils.data.DataLoader(tokens, batch_size=batch)  # type: ignore[arg-type]
        module.train_dataloader = lambda loader=loader: loader
        callbacks = [Lookahead(), MeanGradient(), LiveLoss()]
        trainer = quiet_trainer(callbacks, max_epochs=1, accumulate_grad_batches=accumulate)
        trainer.fit(module)
        assert trainer.global_step == 4
        trained.append(torch.nn.utils.parameters_to_vector(module.parameters()))
    torch.testing.assert_close(*trained, rtol=0, atol=1e-10)
    assert torch.backends.cuda.flash_sdp_enabled()  # as it was
