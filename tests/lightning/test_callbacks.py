"""The callbacks, on a small LightningModule that knows nothing of them."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, seed_everything
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader, TensorDataset

from scratchopt import NAG, SGD, Newton
from scratchopt.batches import Batches
from scratchopt.lightning import (
    Checkpoint,
    Convergence,
    Diverged,
    LiveLoss,
    Lookahead,
    MeanGradient,
    OptimizerMonitor,
    RandomState,
    Recorder,
    Validations,
    read_records,
)
from scratchopt.lightning.idle_hooks import EACH_STEP, skip_idle_hooks
from tests.shared.trainers import quiet_trainer

DATA = torch.linspace(-1.0, 1.0, 8, dtype=torch.float64)


class Curved(LightningModule):
    """f(x; b) = sin(x + b) + x²/10 over batches of shifts b: each batch has its own gradient."""

    def __init__(self, make, start: float = 2.5, batch_size: int = 2) -> None:
        super().__init__()
        self.x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.make, self.batch_size = make, batch_size
        self.evaluated: list[float] = []
        self.validated: list[float] = []

    def loss(self, b):
        return torch.sin(self.x + b).mean() + self.x**2 / 10

    def training_step(self, batch, batch_idx):
        self.evaluated.append(self.x.item())
        return self.loss(batch[0])

    def validation_step(self, batch, batch_idx):
        self.validated.append(self.x.item())

    def configure_optimizers(self):
        return self.make(self.parameters())

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(DATA), batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(TensorDataset(DATA[:1]), batch_size=1)


@pytest.fixture
def fit(tmp_path):
    def run(module, callbacks, ckpt_path=None, **options):
        settings = {"default_root_dir": tmp_path, "max_epochs": 2} | options
        trainer = quiet_trainer(callbacks, **settings)
        trainer.fit(module, ckpt_path=ckpt_path)
        return trainer

    return run


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]


def paper_nag(start: float, batch: int, steps: int, lr: float, mu: float):
    """Sutskever's NAG on the mean gradient of each batch, in plain floats: (θ, θ + μv) by step."""
    theta, v, points = start, 0.0, []
    shifts = DATA.tolist()
    for step in range(steps):
        first = step * batch % len(shifts)
        ahead = theta + mu * v
        points.append((theta, ahead))
        g = sum(math.cos(ahead + b) for b in shifts[first : first + batch]) / batch + ahead / 5
        v = mu * v - lr * g
        theta += v
    return points, theta


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_nag_follows_the_paper_under_accumulation(fit, accumulate):
    module = Curved(lambda p: NAG(p, lr=0.5, momentum=0.9))
    fit(module, [Lookahead()], accumulate_grad_batches=accumulate, val_check_interval=accumulate)
    steps = 8 // accumulate
    points, end = paper_nag(2.5, 2 * accumulate, steps, 0.5, 0.9)
    assert module.x.item() == pytest.approx(end, abs=1e-13)
    assert module.evaluated[::accumulate] == pytest.approx([a for _, a in points], abs=1e-13)
    thetas = [theta for theta, _ in points[1:]] + [end]
    assert module.validated == pytest.approx(thetas, abs=1e-13)


def test_within_an_accumulation_validation_and_checkpoints_are_at_theta(fit, tmp_path):
    class Saving(Callback):
        saved: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, trainer, *args, **kwargs):
            trainer.save_checkpoint(tmp_path / "now.ckpt")
            state = torch.load(tmp_path / "now.ckpt", weights_only=True)["state_dict"]
            self.saved.append(state["x"].item())

    module, saving = Curved(lambda p: NAG(p, lr=0.5, momentum=0.9)), Saving()
    callbacks: Any = [Lookahead(), saving]
    fit(module, callbacks, accumulate_grad_batches=4, val_check_interval=1, max_epochs=3)
    points, end = paper_nag(2.5, 8, 3, 0.5, 0.9)
    thetas = [theta for theta, _ in points] + [end]
    expected = [thetas[(batch + 1) // 4] for batch in range(12)]
    assert module.validated == pytest.approx(expected, abs=1e-13)
    assert saving.saved == pytest.approx(expected, abs=1e-13)
    assert module.evaluated[5] == pytest.approx(points[1][1], abs=1e-13)
    assert abs(points[1][1] - points[1][0]) > 0.05


class Normalized(LightningModule):
    """A network with batch normalization."""

    net: Any

    def __init__(self, make) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        )
        self.make = make

    def training_step(self, batch, batch_idx):
        return ((self.net(batch[0]) - 1) ** 2).mean()

    def configure_optimizers(self):
        return self.make(self.parameters())

    def train_dataloader(self):
        inputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(inputs), batch_size=16)


class Averaged(Callback):
    """Keeps the network as the last epoch begins."""

    net: Any

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.net = copy.deepcopy(pl_module.net)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: NAG(p, lr=0.1, momentum=0.9),
        lambda p: SGD(p, lr=0.1),
        lambda p: Newton(p, lr=0.1, damping=1.0),
    ],
    ids=["nag", "sgd", "newton"],
)
def test_a_pass_for_the_statistics_of_averaged_weights_is_at_these_weights(fit, make, accumulate):
    module, averaged = Normalized(make), Averaged()
    callbacks = [
        *(averaged, Lookahead(), MeanGradient(), OptimizerMonitor(), LiveLoss()),
        StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2),
    ]
    trainer = fit(module, callbacks, max_epochs=6, accumulate_grad_batches=accumulate)
    assert trainer.current_epoch == 7  # the last for the statistics
    inputs = [batch for (batch,) in module.train_dataloader()]
    torch.optim.swa_utils.update_bn(inputs, averaged.net)  # the mean over the batches
    for name in ("running_mean", "running_var"):
        came, right = (getattr(net[1], name) for net in (module.net, averaged.net))
        torch.testing.assert_close(came, right, rtol=1e-6, atol=1e-6)
    if make(module.parameters()).__class__ is not SGD:  # Lightning steps by an old gradient
        assert all(map(torch.equal, module.net.parameters(), averaged.net.parameters()))


def test_nag_follows_the_paper_with_a_grad_scaler(fit):
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    module = Curved(lambda p: NAG(p, lr=0.5, momentum=0.9))
    fit(module, [Lookahead()], plugins=[precision])
    points, end = paper_nag(2.5, 2, 8, 0.5, 0.9)
    assert module.evaluated == pytest.approx([a for _, a in points], abs=1e-13)
    assert module.x.item() == pytest.approx(end, abs=1e-13)


def test_a_batch_that_is_broken_off_leaves_theta_in_module_and_checkpoint(fit, tmp_path):
    class BrokenOff(Curved):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if self.trainer.global_step == 3 else None

    module = BrokenOff(lambda p: NAG(p, lr=0.5, momentum=0.9))
    fit(module, [Lookahead(), Checkpoint()], max_epochs=1)
    points, _ = paper_nag(2.5, 2, 4, 0.5, 0.9)
    assert module.x.item() == pytest.approx(points[3][0], abs=1e-13)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["state_dict"]["x"].item() == module.x.item()


def test_nag_without_the_callback_is_refused_under_accumulation(fit):
    module = Curved(lambda p: NAG(p, lr=0.5, momentum=0.9))
    with pytest.raises(RuntimeError, match="add the callback"):
        fit(module, [], accumulate_grad_batches=2)


def test_nag_without_the_callback_is_right_where_the_closure_suffices(fit):
    module = Curved(lambda p: NAG(p, lr=0.5, momentum=0.9))
    fit(module, [])
    assert module.x.item() == pytest.approx(paper_nag(2.5, 2, 8, 0.5, 0.9)[1], abs=1e-13)


class Tuned(Curved):
    """It does what the callbacks do, which a Tuner leaves out, as the errors say."""

    def __init__(self, make, remedy: bool) -> None:
        super().__init__(make)
        self.lr, self.remedy, self.points = 0.1, remedy, []

    def configure_optimizers(self):
        return self.make(self.parameters(), self.lr)

    def on_train_batch_start(self, batch, batch_idx):
        optimizer: Any = self.optimizers()
        if self.remedy:
            theta, v = self.x.item(), 0.0
            if "velocity" in optimizer.state[self.x] and not optimizer.ahead:
                v = optimizer.state[self.x]["velocity"].item()
                self.points.append(theta + 0.9 * v)
            optimizer.lookahead_()

    def on_before_backward(self, loss):
        optimizer: Any = self.optimizers()
        if self.remedy and hasattr(optimizer, "add_curvature"):
            optimizer.add_curvature(loss)


def tune(tmp_path, what: str, module: Any) -> Any:
    options = {"max_epochs": 20, "accumulate_grad_batches": 2, "limit_val_batches": 0}
    trainer = quiet_trainer([Lookahead(), LiveLoss()], default_root_dir=tmp_path, **options)
    if what == "lr_find":
        return Tuner(trainer).lr_find(module, num_training=10, min_lr=1e-3, max_lr=0.1)
    return Tuner(trainer).scale_batch_size(module, max_trials=1, steps_per_trial=4)


MAKES = {
    "nag": (lambda p, lr: NAG(p, lr=lr, momentum=0.9), "call lookahead_.. in on_train_batch_start"),
    "newton": (
        lambda p, lr: Newton(p, lr=lr, damping=5.0),
        r"call add_curvature\(loss\) in its place in on_before_backward",
    ),
}


@pytest.mark.filterwarnings("ignore:.*pickle")
@pytest.mark.parametrize("what", ["lr_find", "scale_batch_size"])
@pytest.mark.parametrize(("make", "message"), MAKES.values(), ids=MAKES)
def test_under_a_tuner_the_error_s_remedy_works(make, message, what, tmp_path):
    with pytest.raises(RuntimeError, match=message):
        tune(tmp_path, what, Tuned(make, remedy=False))
    module = Tuned(make, remedy=True)
    found = tune(tmp_path, what, module)
    if what == "lr_find":
        assert len(found.results["loss"]) == 10
    if make is MAKES["nag"][0]:
        assert len(module.points) > 2
        assert set(module.points) <= set(module.evaluated)


def test_a_loss_whose_curvature_is_added_twice_is_refused(fit):
    module = Tuned(MAKES["newton"][0], remedy=True)
    with pytest.raises(RuntimeError, match="the curvature of this loss was added before"):
        fit(module, [LiveLoss()])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_newton_gets_the_whole_hessian_under_accumulation(fit, accumulate):
    module = Curved(lambda p: Newton(p, damping=2.0), batch_size=8 // accumulate)
    fit(module, [LiveLoss()], accumulate_grad_batches=accumulate, max_epochs=3)
    x = 2.5
    for _ in range(3):
        g = sum(math.cos(x + b) for b in DATA.tolist()) / 8 + x / 5
        h = sum(-math.sin(x + b) for b in DATA.tolist()) / 8 + 0.2
        x -= g / (h + 2.0)
    assert module.x.item() == pytest.approx(x, abs=1e-13)


def test_newton_without_the_callback_is_refused(fit):
    with pytest.raises(RuntimeError, match="LiveLoss"):
        fit(Curved(lambda p: Newton(p, damping=2.0)), [])


def test_clipping_acts_on_newton(fit):
    def step(**options):
        module = Curved(lambda p: Newton(p, damping=2.0), batch_size=8)
        fit(module, [LiveLoss()], max_steps=1, **options)
        return module.x.item() - 2.5

    free, clipped = step(), step(gradient_clip_val=0.01)
    assert 0 < abs(clipped) < 0.1 * abs(free)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_monitor_measures_what_a_twin_computes(fit, accumulate):
    monitor, module = OptimizerMonitor(write_every=3), Curved(lambda p: SGD(p, lr=0.5))
    fit(module, [monitor], accumulate_grad_batches=accumulate, gradient_clip_val=1e-3)
    steps, batch = 8 // accumulate, 2 * accumulate
    assert monitor.evaluations == 8
    twin = Curved(None)
    for step in range(steps):
        first = step * batch % 8
        twin.x.grad = None
        loss = twin.loss(DATA[first : first + batch])
        loss.backward()
        assert monitor.history["train/loss"][step] == (step, pytest.approx(loss.item(), abs=1e-14))
        g = abs(twin.x.grad.item())  # type: ignore[union-attr]
        assert monitor.history["train/gradnorm"][step] == (step, pytest.approx(g, abs=1e-14))
        clip = min(1, 1e-3 / (g + 1e-6))  # torch's, which keeps off a division by zero
        value = monitor.history["train/velocity"][step]
        assert value == (step, pytest.approx(0.5 * g * clip, rel=1e-9))
        twin.x.data.sub_(0.5 * clip * (twin.x.grad or 0))


def test_monitor_writes_all_steps_to_tensorboard(fit, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monitor = OptimizerMonitor(write_every=3)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    fit(Curved(lambda p: SGD(p, lr=0.5)), [monitor], logger=logger)
    events = EventAccumulator(str(tmp_path)).Reload()
    for tag, history in monitor.history.items():
        scalars = [(e.step, e.value) for e in events.Scalars(tag)]
        assert scalars == [(step, pytest.approx(value, rel=1e-6)) for step, value in history]
        assert len(scalars) == 8


def test_divergence_names_step_optimizer_and_lr_and_keeps_the_last_good_checkpoint(fit, tmp_path):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 5:
                module.x.data.fill_(math.inf)

    monitor, module = OptimizerMonitor(write_every=100), Curved(lambda p: SGD(p, lr=0.5))
    with pytest.raises(
        Diverged, match=r"step 5, counted from 0: train/loss is nan with SGD, lr=0.5"
    ):
        fit(module, [Poison(), monitor, Checkpoint()])
    assert [step for step, _ in monitor.history["train/loss"]] == list(range(6))
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    assert math.isfinite(saved["state_dict"]["x"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "options", [{}, {"accumulate_grad_batches": 2}, {"val_check_interval": 1}], ids=str
)
def test_a_batch_that_is_not_finite_ends_the_run_there_and_is_named(fit, options, value):
    """The sixth of eight; of two that are accumulated the second, so that the step is its own."""
    data = DATA.clone().reshape(4, 2)
    data[1, 0] = value
    module = Curved(lambda p: SGD(p, lr=0.5))
    module.train_dataloader = lambda: DataLoader(TensorDataset(data.repeat(2, 1)), batch_size=1)
    monitor = OptimizerMonitor()
    accumulated = options.get("accumulate_grad_batches", 1)
    step = 1 // accumulated
    with pytest.raises(
        Diverged, match=rf"diverged at step {step}, counted from 0: .*of its batch.*mend the data"
    ):
        fit(module, [monitor, Validations(monitor)], max_epochs=1, **options)
    assert monitor.evaluations == 2
    assert monitor.count_updates(module.trainer) == 2 // accumulated
    assert [at for at, _ in monitor.history["train/loss"]] == list(range(step + 1))
    assert len(module.validated) == (1 if "val_check_interval" in options else 0)


def test_a_loss_that_no_batch_explains_is_blamed_on_the_lr(fit):
    module = Curved(lambda p: SGD(p, lr=0.5))
    module.loss = lambda b: module.x * (math.nan if module.trainer.global_step == 3 else 1.0)
    monitor = OptimizerMonitor()
    with pytest.raises(
        Diverged, match=r"step 3, counted from 0: train/loss is nan with SGD, lr=0.5: try a"
    ):
        fit(module, [monitor])
    assert monitor.evaluations == 4


def test_a_training_that_starts_from_a_number_that_is_none_says_so(fit):
    with pytest.raises(Diverged, match="NaN or infinite before the first step: start elsewhere"):
        fit(Curved(lambda p: SGD(p, lr=0.5), start=math.inf), [OptimizerMonitor(), Checkpoint()])


class ByHand(Curved):
    """Steps the optimizer itself, past Lightning, which then counts no step."""

    def __init__(self, make, closure: bool) -> None:
        super().__init__(make)
        self.automatic_optimization, self.closure = False, closure

    def training_step(self, batch, batch_idx):
        raw: Any = self.optimizers(use_pl_optimizer=False)
        losses = []

        def evaluate():
            raw.zero_grad()
            losses.append(super(ByHand, self).training_step(batch, batch_idx))
            self.manual_backward(losses[-1])
            return losses[-1]

        if self.closure:
            raw.step(evaluate)
        else:
            evaluate()
            raw.step()
        return losses[0]


@pytest.mark.parametrize("closure", [False, True], ids=["step()", "step(closure)"])
def test_steps_past_lightning_are_measured_recorded_and_saved(fit, tmp_path, closure):
    def run(module, folder, **options):
        monitor, made = OptimizerMonitor(), [RandomState(), Checkpoint(steps=3)]
        module.train_dataloader = loader
        callbacks = [Lookahead(), monitor, Recorder(), Validations(monitor), *made]
        trainer = fit(module, callbacks, default_root_dir=tmp_path / folder, **options)
        _, records = read_records(tmp_path / folder / "path")
        return trainer, monitor, np.array(records)

    def nag(params):
        return NAG(params, lr=0.5, momentum=0.9)

    _, expected, known = run(Curved(nag), "automatic")
    trainer, monitor, records = run(ByHand(nag, closure), "by hand")
    assert trainer.global_step == 0  # Lightning's
    assert monitor.count_updates(trainer) == 8
    assert monitor.history == expected.history
    assert records.tobytes() == known.tobytes()
    saved: list[int] = []

    class Stop(Callback):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            saved.append(monitor.count_updates(trainer))

        def on_train_batch_end(self, trainer, *args, **kwargs):
            if monitor.count_updates(trainer) == 7:
                raise KeyError

    monitor = OptimizerMonitor()
    module = ByHand(nag, closure)
    module.train_dataloader = loader
    callbacks = [Lookahead(), monitor, Recorder(), Validations(monitor), RandomState()]
    callbacks += [Checkpoint(steps=3), Stop()]
    with pytest.raises(KeyError):
        fit(module, callbacks, default_root_dir=tmp_path / "broken off")
    assert saved == [0, 3, 4]
    last = tmp_path / "broken off" / "checkpoints" / "last.ckpt"
    _, monitor, records = run(ByHand(nag, closure), "broken off", ckpt_path=last)
    assert monitor.history == expected.history
    assert records.tobytes() == known.tobytes()


@pytest.mark.parametrize("closure", [False, True], ids=["step()", "step(closure)"])
def test_convergence_stops_a_step_past_lightning(fit, closure):
    """At the first evaluation that is near enough, without its update."""

    def distance(module):
        return (module.x + 1.306440008370).abs()

    class Constant(ByHand):
        def loss(self, b):
            return torch.sin(self.x) + self.x**2 / 10

    near = Convergence(1e-6, distance)
    module = Constant(lambda p: NAG(p, lr=1.0, momentum=0.9), closure)
    module.x.data.fill_(8.0)
    fit(module, [Lookahead(), OptimizerMonitor(), near], max_epochs=100)
    assert near.converged
    assert abs(module.evaluated[-1] + 1.306440008370) <= 1e-6
    assert all(abs(x + 1.306440008370) > 1e-6 for x in module.evaluated[:-1])


def test_an_async_checkpoint_io_writes_the_file_before_training_goes_on(fit, tmp_path):
    module = Curved(lambda p: SGD(p, lr=0.5))
    fit(module, [Checkpoint(steps=1)], plugins=[AsyncCheckpointIO()])
    [last] = (tmp_path / "checkpoints").iterdir()
    assert last.name == "last.ckpt"
    saved = torch.load(last, weights_only=True)
    assert (saved["global_step"], saved["state_dict"]["x"].item()) == (8, module.x.item())


def test_convergence_stops_before_the_update(fit):
    def distance(module):
        return (module.x + 1.306440008370).abs()

    class Constant(Curved):
        def loss(self, b):
            return torch.sin(self.x) + self.x**2 / 10

    monitor, convergence = OptimizerMonitor(), Convergence(1e-6, distance)
    module = Constant(lambda p: NAG(p, lr=1.0, momentum=0.9), start=8.0)
    trainer = fit(module, [Lookahead(), monitor, convergence], max_epochs=100)
    assert convergence.converged
    assert monitor.evaluations == trainer.global_step + 1 == len(monitor.history["train/loss"])
    assert len(monitor.history["train/velocity"]) == trainer.global_step
    assert abs(module.evaluated[-1] + 1.306440008370) <= 1e-6
    assert monitor.history["train/loss"][-1][1] == pytest.approx(-0.794582337562, abs=1e-11)


def test_resume_at_an_epochs_end_counts_it_once_under_both_limits(fit, tmp_path):
    def run(**options):
        module = Curved(lambda p: NAG(p, lr=0.5, momentum=0.9))
        module.train_dataloader = loader  # type: ignore[method-assign]
        trainer = fit(module, [Lookahead(), Checkpoint()], max_steps=100, **options)
        return module.x.item(), trainer.global_step

    whole = run(max_epochs=4)
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    for epochs in (1, 2, 4):
        path = tmp_path / "checkpoints" / "last.ckpt"
        x = run(max_epochs=epochs, ckpt_path=path if path.exists() else None)
    assert x == whole
    assert whole[1] == 16


@pytest.mark.parametrize("stop", [3, 4, 6], ids=["mid-epoch", "epoch-end", "second-epoch"])
def test_resume_continues_the_trajectory_and_the_history(fit, tmp_path, stop):
    def run(**options):
        monitor = OptimizerMonitor(write_every=2)
        module = Curved(lambda p: NAG(p, lr=0.5, momentum=0.9))
        module.train_dataloader = loader  # type: ignore[method-assign]
        fit(module, [Lookahead(), monitor, RandomState(), Checkpoint()], **options)
        return module, monitor

    whole, expected = run(max_epochs=3)
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    run(max_epochs=3, max_steps=stop)
    module, monitor = run(max_epochs=3, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert module.x.item() == whole.x.item()
    assert monitor.history == expected.history
    assert monitor.evaluations == expected.evaluations


def loader() -> Batches:
    """The data in order, resumable."""
    return Batches([DATA], 2, shuffle=False, seed=0)


def test_random_state_is_that_of_the_checkpoint(fit, tmp_path):
    import random

    import numpy as np

    class Draw(Callback):
        def __init__(self):
            self.drawn = []

        def on_train_batch_start(self, *args, **kwargs):
            self.drawn.append((random.random(), np.random.rand(), torch.rand(()).item()))

    def run(**options):
        draw = Draw()
        module = Curved(lambda p: SGD(p, lr=0.5))
        module.train_dataloader = loader  # type: ignore[method-assign]
        fit(module, [draw, RandomState(), Checkpoint()], **options)
        return draw.drawn

    seed_everything(1, verbose=False)
    whole = run(max_epochs=2)
    seed_everything(1, verbose=False)
    first = run(max_epochs=2, max_steps=4)
    seed_everything(2, verbose=False)
    rest = run(max_epochs=2, ckpt_path=tmp_path / "checkpoints" / "last-v1.ckpt")
    assert first + rest == whole


@pytest.mark.parametrize("under", ["accumulation", "a scaler"])
def test_the_article_s_function_shows_the_known_traps(fit, under):
    """A NAG that looks ahead only in its closure comes to other points, by a tenth and more."""

    def f_prime(x):
        return math.cos(x) + x / 5

    def ten_steps(gradient):
        x = -3.0
        v = 0.0
        for _ in range(10):
            v = 0.9 * v - 0.1 * gradient(x, x + 0.9 * v)
            x += v
        return x

    class Article(Curved):
        def loss(self, b):
            return torch.sin(self.x) + self.x**2 / 10

    exact = ten_steps(lambda x, ahead: f_prime(ahead))
    trap, options = {
        "accumulation": (
            ten_steps(lambda x, ahead: (f_prime(x) + f_prime(ahead)) / 2),
            {"accumulate_grad_batches": 2},
        ),
        "a scaler": (
            ten_steps(lambda x, ahead: f_prime(x)),
            {
                "plugins": [
                    MixedPrecision(
                        "16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**10)
                    )
                ]
            },
        ),
    }[under]
    module = Article(lambda p: NAG(p, lr=0.1, momentum=0.9), start=-3.0)
    fit(module, [Lookahead()], max_epochs=-1, max_steps=10, **options)
    print(f"{under}: {module.x.item():.6f}, the paper's {exact:.6f}, the trap's {trap:.6f}")
    assert module.x.item() == pytest.approx(exact, abs=1e-13)
    assert abs(trap - exact) > 0.1


@pytest.mark.parametrize("hook", EACH_STEP)
def test_a_trainer_passes_over_idle_hooks_and_calls_the_others(hook: str):
    called: list[str] = []

    class Inherited(type("Base", (Callback,), {hook: lambda *_: called.append(hook)})):
        """Has the hook from a class between itself and Lightning's."""

    patched = Callback()
    setattr(patched, hook, lambda *_: called.append("patched"))
    callbacks = [Inherited(), patched, Callback()]
    skip_idle_hooks(callbacks)
    callable_hooks = [[h for h in EACH_STEP if callable(getattr(c, h))] for c in callbacks]
    assert callable_hooks == [[hook], [hook], []]
    quiet_trainer(callbacks=callbacks, max_steps=2).fit(Curved(lambda p: SGD(p, lr=0.1)))
    assert called == 2 * [hook, "patched"]
