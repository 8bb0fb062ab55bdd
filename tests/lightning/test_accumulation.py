"""Gradient accumulation: a step is that of one batch with all its examples."""

import os
import sys
from collections import UserDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.nn import functional as F
from torch.utils.data import IterableDataset

from scratchopt import SGD, Newton
from scratchopt.batches import Batches
from scratchopt.lightning import (
    Checkpoint,
    LiveLoss,
    Lookahead,
    MeanGradient,
    OptimizerMonitor,
    RandomState,
)
from scratchopt.lightning.accumulation import AccumulationWindow
from tests.shared.cases import CASES
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*training_step. returned .None."),
    pytest.mark.filterwarnings("ignore:Your .IterableDataset. has .__len__. defined"),
]

RANDOM = torch.Generator().manual_seed(0)
INPUTS = torch.randn(72, 3, generator=RANDOM, dtype=torch.float64)
LABELS = torch.arange(72) % 2


class Net(LightningModule):
    """Softmax regression on the first `rows` of the data."""

    def __init__(self, configure: Any, batch_size: int, rows: int = 72) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.configure = torch.nn.Linear(3, 2), configure
        self.loader: Any = Batches([INPUTS[:rows], LABELS[:rows]], batch_size, shuffle=True, seed=0)
        self.without_loss: set[int] = set()

    def training_step(self, batch, batch_idx):
        inputs, labels = batch
        if batch_idx in self.without_loss:
            return None
        return F.cross_entropy(self(inputs.to(self.net.weight.dtype)), labels)

    def forward(self, inputs):
        return self.net(inputs)

    def configure_optimizers(self):
        return self.configure(self.parameters())

    def train_dataloader(self):
        return self.loader


class Ones(Net):
    """The loss of every batch is 1."""

    def training_step(self, batch, batch_idx):
        return 1 + 0 * self.net.weight.sum()


class Stream(IterableDataset):
    """Batches whose number nobody knows beforehand."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self):
        yield from self.batches


def stream(batches: Any) -> Any:
    return torch.utils.data.DataLoader(Stream(batches), batch_size=None)


# The gradient of two classes has rank 1, and leaves the matrix's longer side no basis of its own.
SETTINGS = {row: case.settings for row, case in CASES.items()}
SETTINGS["soap"] = SETTINGS["soap"] | {"max_precond_dim": 2}


def of(row: str) -> Any:
    return lambda params: CASES[row].cls(params, **SETTINGS[row])


def fit(module: Any, callbacks: Any = None, **options: Any) -> Trainer:
    trainer = quiet_trainer(
        [Lookahead(), MeanGradient(), LiveLoss()] if callbacks is None else callbacks,
        **{"max_epochs": 2, "precision": "64-true", **options},
    )
    trainer.fit(module)
    return trainer


def theta(module: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def check_same(a: Any, b: Any) -> None:
    torch.testing.assert_close(theta(a), theta(b), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "batches"),  # the last step has 1 batch, or 3
    [(72, 4), (70, 4), (70, 3)],
    ids=["of 8", "of 6", "of 8, 8 and 6"],
)
@pytest.mark.parametrize("row", CASES)
def test_accumulated_batches_are_one_large_batch_to_the_end_of_an_epoch(row, rows, batches):
    small, large = Net(of(row), 8, rows), Net(of(row), 8 * batches, rows)
    fit(small, accumulate_grad_batches=batches)
    fit(large)
    check_same(small, large)


def test_so_is_a_stream_whose_length_nobody_knows():
    small, large = Net(of("nag"), 8), Net(of("nag"), 32)
    small.loader = stream(list(Net(of("nag"), 8).loader))
    fit(small, accumulate_grad_batches=4, max_epochs=1)
    fit(large, max_epochs=1)
    check_same(small, large)


def test_a_schedule_of_the_accumulation_is_followed():
    small, large = Net(of("adam"), 8), Net(of("adam"), 32)
    schedule = GradientAccumulationScheduler(scheduling={0: 4, 1: 1})
    fit(small, [Lookahead(), MeanGradient(), schedule])
    fit(large, max_epochs=1)
    rest = Net(of("adam"), 8).double()
    rest.load_state_dict(large.state_dict())
    rest.loader.epoch = 1
    rest.configure = lambda params: _continued(of("adam")(params), large)
    fit(rest, max_epochs=1)
    check_same(small, rest)


def _continued(optimizer: Any, trained: Net) -> Any:
    state = trained.optimizers().optimizer.state_dict()  # type: ignore[union-attr]
    optimizer.load_state_dict(state)
    return optimizer


@pytest.mark.parametrize("missing", [{1}, {3}, {8}, {0, 6}])
@pytest.mark.parametrize("row", ["nag", "newton"])
def test_a_batch_without_loss_does_not_count(row, missing):
    batches = [b for i, b in enumerate(Net(of(row), 8).loader) if i not in missing]
    module, expected = Net(of(row), 8), Net(of(row), 8)
    module.without_loss = missing
    fit(module, accumulate_grad_batches=4, max_epochs=1)
    windows, counted = [], iter(batches)
    for window in ([0, 1, 2, 3], [4, 5, 6, 7], [8]):
        rows = [next(counted) for i in window if i not in missing]
        if rows:
            windows.append([torch.cat(column) for column in zip(*rows, strict=True)])
    expected.loader = stream(windows)
    fit(expected, max_epochs=1)
    check_same(module, expected)


def test_the_gradient_is_clipped_as_the_mean_that_it_is():
    small, large = Net(of("sgd"), 8), Net(of("sgd"), 32)
    fit(small, accumulate_grad_batches=4, gradient_clip_val=0.1)
    fit(large, gradient_clip_val=0.1)
    check_same(small, large)


@pytest.mark.parametrize("accumulated", [4, 3])  # the last step is of 6 rows, or of 8, 8 and 6
@pytest.mark.parametrize("row", ["nag", "newton"])
def test_the_log_has_the_loss_and_the_gradient_of_the_large_batch(row, accumulated):
    kept = []
    for size, batches in ((8, accumulated), (8 * accumulated, 1)):
        monitor = OptimizerMonitor()
        callbacks = [Lookahead(), MeanGradient(), monitor, LiveLoss()]
        fit(Net(of(row), size, 70), callbacks, accumulate_grad_batches=batches)
        kept.append(monitor)
    for tag in ("train/loss", "train/gradnorm", "train/velocity"):
        a, b = (monitor.history[tag] for monitor in kept)
        assert [step for step, _ in a] == [step for step, _ in b] == list(range(6))
        for (_, x), (_, y) in zip(a, b, strict=True):
            assert x == pytest.approx(y, abs=1e-12)
    assert kept[0].evaluations == 18


@pytest.mark.parametrize("scales", [True, False])
def test_the_logged_loss_of_batches_of_loss_1_is_1(scales):
    monitor = OptimizerMonitor()
    callbacks = [*([MeanGradient()] if scales else []), monitor]
    fit(Ones(of("sgd"), 8), callbacks, accumulate_grad_batches=4)
    assert monitor.history["train/loss"] == [(i, 1.0) for i in range(6)]
    assert monitor.history["train/cost"] == [(2, 1.0), (5, 1.0)]  # where it is not 4


def test_full_steps_of_equal_batches_are_the_same_to_the_bit():
    with_it, without = Net(of("adam"), 9), Net(of("adam"), 9)
    fit(with_it, accumulate_grad_batches=4, precision="32-true")
    fit(without, [], accumulate_grad_batches=4, precision="32-true")
    assert torch.equal(theta(with_it), theta(without))


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_run_broken_off_before_a_short_step_goes_on_bit_for_bit(steps, tmp_path):
    def callbacks() -> list[Any]:
        return [
            *(Lookahead(), MeanGradient(), OptimizerMonitor(), LiveLoss(), RandomState()),
            Checkpoint(),
        ]

    options: dict[str, Any] = {"accumulate_grad_batches": 4, "default_root_dir": tmp_path}
    whole, part, rest = (Net(of("nag"), 8, 70) for _ in range(3))
    all_of_it = fit(whole, callbacks(), **options | {"default_root_dir": tmp_path / "whole"})
    fit(part, callbacks(), max_steps=steps, **options)
    trainer = quiet_trainer(callbacks(), max_epochs=2, precision="64-true", **options)
    trainer.fit(rest, ckpt_path=tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert torch.equal(theta(rest), theta(whole))
    histories = [t.callbacks[2].history for t in (all_of_it, trainer)]  # type: ignore[attr-defined]
    assert histories[0] == histories[1]
    assert len(histories[0]["train/loss"]) == 6


def test_a_callback_that_would_see_the_gradient_before_is_named():
    with pytest.raises(RuntimeError, match="list MeanGradient before it in Trainer"):
        fit(Net(of("sgd"), 8), [OptimizerMonitor(), MeanGradient()])


def test_a_strategy_that_accumulates_by_itself_is_refused():
    class Accumulating(SingleDeviceStrategy):  # as DeepSpeed's says of itself
        @property
        def handles_gradient_accumulation(self):
            return True

    with pytest.raises(RuntimeError, match="Accumulating accumulates them by itself"):
        fit(
            Net(of("sgd"), 8),
            [MeanGradient()],
            strategy=Accumulating("cpu"),
            accumulate_grad_batches=4,
        )


def test_a_newton_that_tries_its_steps_wants_one_batch():
    module = Net(lambda params: Newton(params, damping=1.0, line_search=True), 8, 16)
    with pytest.raises(RuntimeError, match="accumulate_grad_batches=1, and a larger batch"):
        fit(module, accumulate_grad_batches=4)
    module = Net(lambda params: Newton(params, damping=1.0, line_search=True), 8, 8)
    with pytest.raises(RuntimeError, match="accumulate_grad_batches=1, and a larger batch"):
        fit(module, accumulate_grad_batches=4)


def test_batches_without_a_size_count_alike():
    """Tensors that differ in their first dimension, as tokens and offsets do."""
    pieces = [{"x": INPUTS[i : i + n], "y": LABELS[:1]} for i, n in ((0, 2), (2, 5), (7, 3))]

    class Odd(Net):
        def training_step(self, batch, batch_idx):
            return (self.net(batch["x"]) ** 2).mean()

    module = Odd(lambda params: SGD(params, lr=0.1), 8)
    module.loader = stream(pieces)
    with pytest.warns(UserWarning, match="counts a batch as the one before it") as caught:
        fit(module, accumulate_grad_batches=4, max_epochs=1)
    assert len([w for w in caught if "the one before it" in str(w.message)]) == 1
    by_hand = Odd(lambda params: SGD(params, lr=0.1), 8).double()
    loss = torch.stack([by_hand.training_step(batch, 0) for batch in pieces]).mean()
    loss.backward()
    by_hand.configure_optimizers().step()
    check_same(module, by_hand)


def test_of_batches_without_data_no_warning_is_given():
    module = Ones(of("sgd"), 8)
    module.loader = stream([torch.empty(0)] * 5)
    fit(module, accumulate_grad_batches=4, max_epochs=1)


@dataclass
class Pair:
    """Inputs and labels, as users have them."""

    inputs: torch.Tensor
    labels: torch.Tensor


@pytest.mark.parametrize("kind", ["dataclass", "UserDict"])
def test_examples_are_counted_in_batches_of_users_kinds(kind):
    class Kinds(Net):
        def training_step(self, batch, batch_idx):
            pair = list(vars(batch).values()) if kind == "dataclass" else list(batch.values())
            return super().training_step(pair, batch_idx)

    make: Any = Pair if kind == "dataclass" else lambda x, y: UserDict(inputs=x, labels=y)
    small, large = Kinds(of("sgd"), 8), Net(of("sgd"), 10)
    small.loader = stream([make(INPUTS[:8], LABELS[:8]), make(INPUTS[8:10], LABELS[8:10])])
    large.loader = stream([(INPUTS[:10], LABELS[:10])])
    fit(small, accumulate_grad_batches=2, max_epochs=1)
    fit(large, max_epochs=1)
    check_same(small, large)


def test_a_live_loss_before_it_is_refused_with_a_newton():
    with pytest.raises(RuntimeError, match=r"LiveLoss would see .* list MeanGradient before it"):
        fit(Net(of("newton"), 8), [LiveLoss(), MeanGradient()], accumulate_grad_batches=4)


# Processes


def test_processes_scale_by_one_factor_and_weigh_by_all_their_examples():
    """Two in one: each batch's weight, and the factor, as two processes would agree on them."""
    totals = 2 + 3, 6 + 1
    weights, factors = [], []
    for sizes in ((2, 3), (6, 1)):
        window = AccumulationWindow(agree=lambda size: 6.0, add=lambda total: sum(totals) / 2)
        for size in sizes:
            window.begin(INPUTS[:size])
            window.count()
            weights.append(window.weight / 2 / 2)  # by k, and by the mean over two
        factors.append(window.close(2))
    assert factors[0] == factors[1]
    shares = [weight * factors[0] for weight in weights]
    assert shares == pytest.approx([2 / 12, 3 / 12, 6 / 12, 1 / 12], abs=1e-15)


SIZES = (8, 8, 8, 8, 8), (8, 4, 2, 7, 4)  # of the batches of each
PROCESSES = ("sgd", "nag", "newton")


def batches_of(rank: int) -> list[list[torch.Tensor]]:
    end = 72 if rank else 40
    parts = (data[end - sum(SIZES[rank]) : end].split(SIZES[rank]) for data in (INPUTS, LABELS))
    return [list(batch) for batch in zip(*parts, strict=True)]


@pytest.mark.slow
def test_processes_whose_batches_differ_in_size_have_the_mean_over_all_examples(tmp_path):
    run_by_two(__name__, tmp_path)
    for row in PROCESSES:
        one, both = Net(of(row), 8), [batches_of(rank) for rank in (0, 1)]
        windows = [[*both[0][i : i + 2], *both[1][i : i + 2]] for i in (0, 2, 4)]
        one.loader = stream(
            [[torch.cat(column) for column in zip(*window, strict=True)] for window in windows]
        )
        fit(one, max_epochs=1)
        ranks = [torch.load(tmp_path / f"{row}-{rank}.pt") for rank in (0, 1)]
        assert torch.equal(*ranks)
        torch.testing.assert_close(ranks[0], theta(one), rtol=0, atol=1e-12)


def _process(folder: Path) -> None:
    for row in PROCESSES:
        module = Net(of(row), 8)
        rank = int(os.environ["RANK"])
        module.loader = stream(batches_of(rank))
        options: dict[str, Any] = {"accumulate_grad_batches": 2, "max_epochs": 1}
        fit(module, devices=2, strategy="ddp", **options)
        torch.save(theta(module), folder / f"{row}-{rank}.pt")


if __name__ == "__main__":
    _process(Path(sys.argv[1]))
