"""Running statistics of BatchNorm layers: of the weights that a Schedule-Free method validates."""

import copy
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn

from scratchopt import NAG, ScheduleFreeSGD
from scratchopt.batches import Batches, InOrder
from scratchopt.lightning import Lookahead, RandomState, running_statistics
from tests.shared.trainers import quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]
INPUTS = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Normalized(LightningModule):
    """A net with BatchNorm and dropout, which logs, and counts its training steps."""

    def __init__(self, make=lambda p: ScheduleFreeSGD(p, lr=0.5, momentum=0.5)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            *(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2)),
            *(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)),
        )
        self.make, self.count = make, 0

    def training_step(self, batch, batch_idx):
        self.count += 1
        loss = ((self.net(batch[0]) - batch[0].prod(1, keepdim=True)) ** 2).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return self.make(self.parameters())

    def train_dataloader(self):
        return Batches([INPUTS], 16, shuffle=False, seed=0)

    def val_dataloader(self):
        return InOrder([INPUTS], 16)


class ByHand(Normalized):
    """The same, which takes its steps itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


class Starts(Callback):
    """Keeps the net, its batch and torch's random numbers as each batch begins."""

    def __init__(self) -> None:
        self.nets: list[Any] = []
        self.batches: list[Any] = []
        self.random: list[Any] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.nets.append(copy.deepcopy(pl_module.net))
        self.batches.append(batch[0].clone())
        self.random.append(torch.get_rng_state())


def norms(net: nn.Module) -> list[Any]:
    return [part for part in net.modules() if isinstance(part, nn.BatchNorm1d)]


def statistics(net: nn.Module) -> list[torch.Tensor]:
    return [getattr(part, name) for part in norms(net) for name in STATISTICS]


def train(module, *callbacks, ckpt_path=None, **options) -> Any:
    trainer = quiet_trainer(callbacks, **{"max_epochs": 3, **options})
    trainer.fit(module, ckpt_path=ckpt_path)
    return module


def passes_at_theta(starts: Starts, chosen) -> list[torch.Tensor]:
    """The statistics that passes at θ, before the chosen batches, come to."""
    with torch.random.fork_rng():
        for i, net in enumerate(starts.nets):
            if i:
                for part, before in zip(norms(net), norms(starts.nets[i - 1]), strict=True):
                    for name in STATISTICS:
                        getattr(part, name).copy_(getattr(before, name))
            if chosen(i):
                torch.set_rng_state(starts.random[i])
                net(starts.batches[i])
    return statistics(starts.nets[-1])


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("density", [200, 4])
def test_they_are_those_of_theta(density, accumulate, monkeypatch):
    """To the bit those of passes at θ: before each batch, and later before fewer."""
    monkeypatch.setattr(running_statistics, "DENSITY", density)
    starts = Starts()
    module = train(Normalized(), starts, Lookahead(), accumulate_grad_batches=accumulate)
    expected = passes_at_theta(starts, lambda i: i % max(1, i // density) == 0)
    assert all(map(torch.equal, statistics(module.net), expected))
    assert module.net[1].num_batches_tracked == (12 if density == 200 else 10)
    assert all(part.track_running_stats for part in norms(module.net))


def test_the_passes_change_nothing_else():
    """Weights, log, random numbers and the module's own counts are those without them."""
    ends = []
    for averages in (True, False):
        make: Any = type("Mine", (ScheduleFreeSGD,), {"averages": averages})
        module = train(Normalized(lambda p, make=make: make(p, lr=0.5)), Lookahead())
        ends.append([*module.parameters(), torch.tensor(module.count), torch.rand(1)])
        ends[-1].append(module.trainer.callback_metrics["train/loss"])
    assert all(map(torch.equal, *ends))


def test_a_run_that_is_resumed_within_an_epoch_has_the_same(tmp_path):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 6:
                trainer.save_checkpoint(tmp_path / "now.ckpt")

    options: Any = {"default_root_dir": tmp_path, "use_distributed_sampler": False}
    whole = train(Normalized(), Lookahead(), RandomState(), Stop(), **options)
    resumed = Normalized()
    train(resumed, Lookahead(), RandomState(), ckpt_path=tmp_path / "now.ckpt", **options)
    assert whole.count == 12
    assert resumed.count == 6
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))
    assert all(map(torch.equal, statistics(whole.net), statistics(resumed.net)))


@pytest.mark.filterwarnings("ignore:Found 1 module.s. in eval mode")
def test_layers_that_are_frozen_stay_as_they_are():
    module = Normalized()
    module.net[1].eval()
    norms(module.net)[1].track_running_stats = False
    train(module, Lookahead())
    assert module.net[1].num_batches_tracked == module.net[5].num_batches_tracked == 0
    assert not module.net[5].track_running_stats


def test_those_of_nag_are_of_its_gradient_points():
    """As ever: its θ is but a step away."""
    module = train(Normalized(lambda p: NAG(p, lr=0.1)), Lookahead())
    assert module.net[1].num_batches_tracked == 12
    assert module.count == 12


def test_a_batch_that_fails_leaves_the_layers_as_they_were():
    class Failing(Normalized):
        def on_before_backward(self, loss):
            raise ZeroDivisionError

    module = Failing()
    with pytest.raises(ZeroDivisionError):
        train(module, Lookahead())
    assert all(part.track_running_stats for part in norms(module.net))


def test_where_no_pass_can_be_made_a_warning_says_how():
    with pytest.warns(UserWarning, match=r"call torch.optim.swa_utils.update_bn\(loader, model\)"):
        module = train(ByHand(), Lookahead())
    assert module.net[1].num_batches_tracked == 12
