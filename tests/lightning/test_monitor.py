"""OptimizerMonitor: each quantity equals its twin, computed by autograd in a loop of one's own.

As a program, `python -m tests.lightning.test_monitor <strategy> <file>`, it trains in two processes
and writes what the monitor saw.
"""

import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BackboneFinetuning
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from scratchopt import NAG, SGD, Momentum
from scratchopt.lightning import (
    Checkpoint,
    Diverged,
    Lookahead,
    OptimizerMonitor,
    Recorder,
    Sharpness,
    read_records,
)
from tests.shared import commands
from tests.shared.trainers import quiet_trainer

STEPS, BATCH = 6, 8
OPTIMIZERS: dict[str, Any] = {
    "sgd": partial(SGD, lr=0.3),
    "momentum": partial(Momentum, lr=0.1, momentum=0.9),
    "nag": partial(NAG, lr=0.1, momentum=0.9),
    # writes into its gradients
    "torch's nesterov": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]


class Net(LightningModule):
    """Five numbers → four units → one number; a parameter that the loss never sees."""

    def __init__(self, optimizer: str, micro_batch: int = BATCH) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.idle = nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.inputs = torch.randn(STEPS * BATCH, 5, dtype=torch.float64)
        self.targets = torch.randn(STEPS * BATCH, 1, dtype=torch.float64)
        self.optimizer, self.micro_batch = optimizer, micro_batch

    def loss(self, inputs, targets):
        return nn.functional.mse_loss(self.net(inputs), targets)

    def training_step(self, batch, batch_idx):
        return self.loss(*batch)

    def configure_optimizers(self):
        return OPTIMIZERS[self.optimizer](self.parameters())

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.inputs, self.targets), batch_size=self.micro_batch)


def twin(optimizer: str, clip: float | None = None, by: str = "norm") -> dict[str, list[float]]:
    """The values that the monitor should have seen, by tag; the angle by arctan, not arccos."""
    module, seen = Net(optimizer), {}
    named = dict(module.named_parameters())
    lr, mu = 0.3 if optimizer == "sgd" else 0.1, 0.0 if optimizer == "sgd" else 0.9
    theta = {name: p.detach().clone() for name, p in named.items()}
    v = {name: torch.zeros_like(p) for name, p in theta.items()}
    ahead = {name: torch.zeros_like(p) for name, p in theta.items()}
    for step in range(STEPS):
        at = {name: theta[name] + (mu * v[name] if optimizer == "nag" else 0) for name in theta}
        for name, p in named.items():
            p.data.copy_(at[name])
        rows = slice(step * BATCH, (step + 1) * BATCH)
        loss = module.loss(module.inputs[rows], module.targets[rows])
        found = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
        g = dict(zip(named, found, strict=True))
        used = g
        if clip is not None and by == "norm":
            factor = min(1.0, clip / (_norm(g) + 1e-6))  # torch's
            used = {name: factor * x for name, x in g.items()}
        elif clip is not None:
            used = {name: x.clamp(-clip, clip) for name, x in g.items()}
        before = dict(theta)
        for name in theta:
            v[name] = mu * v[name] - lr * used[name]
            ahead[name] = mu * v[name] - lr * used[name]
            move = ahead[name] if optimizer == "torch's nesterov" else v[name]
            theta[name] = theta[name] + move
        for only in (None, *theta):
            _see(seen, only, loss.item(), g, used, before, theta, clipped=clip is not None)
    return seen


def _see(seen, only, loss, g, used, before, after, *, clipped) -> None:
    names = [only] if only else list(g)
    g, used, before, after = ({n: d[n] for n in names} for d in (g, used, before, after))
    moved = {n: after[n] - before[n] for n in names}
    tag = (lambda kind: f"{kind}/{only}") if only else (lambda kind: f"train/{kind}")

    def add(kind, value):
        seen.setdefault(tag(kind), []).append(value)

    add("gradnorm", _norm(g))
    add("velocity", _norm(moved))
    add("update_ratio", _norm(moved) / _norm(before))
    if clipped:
        add("gradnorm_clipped", _norm(used))
    if only is None:
        add("loss", loss)
    if _norm(g) > 0:
        down = {n: -x / _norm(g) for n, x in g.items()}
        along = {n: x / _norm(moved) for n, x in moved.items()}
        apart = _norm({n: along[n] - down[n] for n in names})
        together = _norm({n: along[n] + down[n] for n in names})
        add("angle", math.degrees(2 * math.atan2(apart, together)))


def _norm(tensors: dict[str, torch.Tensor]) -> float:
    return math.sqrt(sum(float((x * x).sum()) for x in tensors.values()))


def fit(
    module: LightningModule, monitor: OptimizerMonitor, extra=(), before=(), **options: Any
) -> None:
    callbacks = [Lookahead(), *before, monitor, *extra]
    quiet_trainer(callbacks, **({"max_epochs": 1} | options)).fit(module)


def compare(history: Any, expected: dict[str, list[float]], tags: Any = None) -> None:
    for tag in tags or expected:
        assert [step for step, _ in history[tag]] == list(range(STEPS)), tag
        values = [value for _, value in history[tag]]
        # An arccos is good to the root of the rounding, where its argument is near 1.
        exact = pytest.approx(expected[tag], rel=1e-12)
        assert values == (pytest.approx(expected[tag], abs=1e-5) if "angle" in tag else exact), tag


CLIPS: dict[str, dict[str, Any]] = {
    "free": {},
    "by norm": {"gradient_clip_val": 0.2},
    "by value": {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "value"},
}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_quantity_equals_its_twin(optimizer, clip):
    monitor = OptimizerMonitor(write_every=4, layers=True)
    fit(Net(optimizer), monitor, **CLIPS[clip])
    options = CLIPS[clip]
    by = options.get("gradient_clip_algorithm", "norm")
    expected = twin(optimizer, options.get("gradient_clip_val"), by)
    compare(monitor.history, expected)
    assert set(monitor.history) == set(expected)  # and no NaN where the gradient is zero
    assert not any("angle/idle" in tag for tag in monitor.history)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_accumulation_is_a_larger_batch(optimizer):
    monitor = OptimizerMonitor(layers=True)
    module = Net(optimizer, micro_batch=BATCH // 4)
    fit(module, monitor, accumulate_grad_batches=4, gradient_clip_val=0.2)
    compare(monitor.history, twin(optimizer, 0.2))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_grad_scaler_s_factor_is_not_in_it(optimizer):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    monitor = OptimizerMonitor(layers=True)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    module = Net(optimizer)
    module.loss = torch.autocast("cpu", enabled=False)(module.loss)  # type: ignore[method-assign]
    fit(module, monitor, plugins=[plugin], gradient_clip_val=0.2)
    compare(monitor.history, twin(optimizer, 0.2))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_norms_of_two_processes_are_those_of_the_whole(strategy, tmp_path):
    written = tmp_path / "history.json"
    done = commands.run_module(__name__, strategy, written, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    for optimizer, history in json.loads(written.read_text()).items():
        compare(history, twin(optimizer, 0.2))


def test_a_bad_batch_of_one_process_ends_both_at_its_step_and_is_named(tmp_path):
    done = commands.run_module(__name__, "bad", tmp_path, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        message, *counts = json.loads((tmp_path / str(rank)).read_text())
        assert (
            "diverged at step 2, counted from 0: train/loss is nan, and so is a value of its batch"
            in message
        )
        assert counts == [3, 6]  # updates; evaluations, of two micro-batches each


def test_every_third_step_is_measured_and_the_loss_of_all():
    monitor = OptimizerMonitor(3)
    fit(Net("nag"), monitor)
    expected = twin("nag")
    compare(monitor.history, expected, ["train/loss"])
    for tag in ("train/gradnorm", "train/velocity", "train/update_ratio", "train/angle"):
        assert [step for step, _ in monitor.history[tag]] == [0, 3]
        third = expected[tag][3]
        assert monitor.history[tag][1][1] == pytest.approx(third, rel=1e-9)


def test_a_larger_net_is_measured_every_twentieth_step():
    module = Net("sgd", micro_batch=2)
    module.idle = nn.Parameter(torch.ones(10_000, dtype=torch.float64))
    monitor = OptimizerMonitor()
    fit(module, monitor)
    assert [step for step, _ in monitor.history["train/velocity"]] == [0, 20]
    assert len(monitor.history["train/loss"]) == 24


def test_a_last_update_to_infinity_is_a_divergence_though_it_was_not_measured():
    class Explodes(Net):
        def on_train_batch_end(self, *args, **kwargs):
            if self.trainer.global_step == STEPS:
                self.idle.data[0] = math.inf

    with pytest.raises(
        Diverged, match="diverged at step 5, counted from 0: a parameter is not finite with SGD"
    ):
        fit(Explodes("sgd"), OptimizerMonitor(5))


def test_it_leaves_the_module_s_clipping_alone():
    module = Net("sgd")
    fit(module, OptimizerMonitor(), gradient_clip_val=0.2)
    assert "configure_gradient_clipping" not in vars(module)
    own = module.configure_gradient_clipping = lambda *args, **kwargs: None
    fit(module, OptimizerMonitor(), gradient_clip_val=0.2)
    assert vars(module)["configure_gradient_clipping"] is own


class Two(Net):
    """Two networks with an optimizer each, stepped by hand one after the other."""

    def __init__(self) -> None:
        super().__init__("sgd")
        self.automatic_optimization = False
        self.other = nn.Linear(5, 1).double()

    def training_step(self, batch, batch_idx):  # type: ignore[override]
        for optimizer, net in zip(self.optimizers(), (self.net, self.other), strict=True):  # type: ignore[arg-type]
            optimizer.zero_grad()
            self.manual_backward(nn.functional.mse_loss(net(batch[0]), batch[1]))
            optimizer.step()

    def configure_optimizers(self):
        return [OPTIMIZERS["sgd"](net.parameters()) for net in (self.net, self.other)]  # type: ignore[return-value]


def test_of_two_optimizers_each_one_s_gradient_is_that_of_its_step():
    monitor, module = OptimizerMonitor(layers=True), Two()
    fit(module, monitor)
    alone = Two()
    optimizer = OPTIMIZERS["sgd"](alone.other.parameters())
    norms = []
    for inputs, targets in alone.train_dataloader():
        optimizer.zero_grad()
        nn.functional.mse_loss(alone.other(inputs), targets).backward()
        norms.append(alone.other.weight.grad.norm().item())  # type: ignore[union-attr]
        optimizer.step()
    assert [norm for _, norm in monitor.history["gradnorm/other.weight"]] == pytest.approx(norms)
    angles = [angle for _, angle in monitor.history["angle/other.weight"]]
    assert angles == pytest.approx([0] * STEPS, abs=1e-5)


SLOW_SGD = partial(SGD, lr=0.1)


class Thawed(LightningModule):
    """A frozen backbone of 12 numbers and a head of 5."""

    def __init__(self, optimizer: Any = SLOW_SGD) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.head = nn.Linear(2, 4).double(), nn.Linear(4, 1).double()
        self.data = torch.randn(12, 2, dtype=torch.float64)
        self.optimizer = optimizer

    def training_step(self, batch, batch_idx):
        return (self.head(self.backbone(batch[0]).tanh()) - 1).square().mean()

    def configure_optimizers(self):
        return self.optimizer([p for p in self.parameters() if p.requires_grad])

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.data), batch_size=4)


def thaw() -> BackboneFinetuning:
    """Unfreezes the backbone at epoch 1, with an lr of its own."""
    return BackboneFinetuning(
        1, lambda epoch: 1.0, backbone_initial_lr=0.05, should_align=False, initial_denom_lr=1.0
    )


@pytest.mark.parametrize("first", [True, False], ids=["before it", "after it"])
def test_parameters_that_join_are_measured_from_then_on(first, tmp_path):
    monitor, module, twin = OptimizerMonitor(layers=True), Thawed(), Thawed()
    order = {"before": [thaw()]} if first else {"extra": [thaw()]}
    fit(module, monitor, **order, max_epochs=3, default_root_dir=tmp_path)
    moved = list(twin.head.parameters())
    for step in range(9):
        if step == 3:
            moved += twin.backbone.parameters()
        twin.zero_grad()
        twin.training_step([twin.data[step % 3 * 4 :][:4]], 0).backward()
        size = math.sqrt(sum(p.detach().square().sum().item() for p in moved))
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in moved))  # type: ignore[union-attr]
        squares = 0.0
        for p in moved:
            delta = (0.1 if p.shape[0] == 1 else 0.05) * p.grad  # type: ignore[operator]
            squares += delta.square().sum().item()
            p.data.sub_(delta)
        history = {tag: dict(rows) for tag, rows in monitor.history.items()}
        assert history["train/gradnorm"][step] == pytest.approx(norm, rel=1e-12)
        assert history["train/velocity"][step] == pytest.approx(math.sqrt(squares), rel=1e-9)
        ratio = math.sqrt(squares) / size
        assert history["train/update_ratio"][step] == pytest.approx(ratio, rel=1e-9)
        assert (step in history["gradnorm/backbone.weight"]) == (step >= 3)


def test_a_second_fit_forgets_a_step_that_was_broken_off():
    class Fails(Net):
        def training_step(self, batch, batch_idx):
            if batch_idx == 1:
                raise KeyError("broken off")
            return super().training_step(batch, batch_idx)

    monitor = OptimizerMonitor()
    with pytest.raises(KeyError):
        fit(Fails("sgd", micro_batch=BATCH // 4), monitor, accumulate_grad_batches=4)
    fit(Net("sgd"), monitor)
    compare({"train/loss": monitor.history["train/loss"]}, twin("sgd"), ["train/loss"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.complex64])
def test_parameters_of_different_dtypes_are_measured(dtype):
    module = Net("sgd")
    module.idle = nn.Parameter(torch.ones(3, dtype=dtype))
    monitor = OptimizerMonitor()
    fit(module, monitor)
    assert monitor.history["train/gradnorm"][0][1] == pytest.approx(
        twin("sgd")["train/gradnorm"][0]
    )


def test_sparse_gradients_are_measured_and_recorded(tmp_path):
    class Sparse(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 3, sparse=True, dtype=torch.float64)

        def training_step(self, batch, batch_idx):
            return self.embed(batch).square().sum()

        def configure_optimizers(self):
            return OPTIMIZERS["sgd"](self.parameters())

        def train_dataloader(self) -> Any:
            return DataLoader(torch.tensor([1, 1, 3]), batch_size=3)  # type: ignore[arg-type]

    module, monitor = Sparse(), OptimizerMonitor()
    rows = module.embed.weight[[1, 3]].detach()
    expected = (2 * rows * torch.tensor([[2.0], [1.0]])).norm().item()
    fit(module, monitor, extra=[Recorder()], default_root_dir=tmp_path)
    assert monitor.history["train/gradnorm"] == [(0, pytest.approx(expected))]
    _, records = read_records(tmp_path / "path")
    assert np.linalg.norm(records["gradient"][0]) == pytest.approx(expected)


@pytest.mark.parametrize("wide", [2, 2000], ids=["few numbers", "many numbers"])
def test_lazy_layers_are_measured_and_recorded_once_they_have_a_shape(wide, tmp_path):
    class Lazy(Thawed):
        def __init__(self, lazy: bool) -> None:
            super().__init__(lambda params: NAG(params, lr=0.01, momentum=0.9))
            torch.manual_seed(1)
            self.backbone = nn.LazyLinear(wide) if lazy else nn.Linear(2, wide)
            self.head = nn.LazyLinear(1) if lazy else nn.Linear(wide, 1)
            self.data = self.data.float()

        def configure_optimizers(self):
            return self.optimizer(self.parameters())

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if not drawn:
                drawn.update({name: value.clone() for name, value in self.state_dict().items()})
            return loss

    def run(lazy: bool) -> tuple[OptimizerMonitor, Sharpness, Path]:
        module, monitor, folder = Lazy(lazy), OptimizerMonitor(), tmp_path / str(lazy)
        if drawn:
            module.load_state_dict(drawn)
        sharpness = Sharpness(2)
        extra = [Recorder(), sharpness, Checkpoint(steps=1)]
        fit(module, monitor, extra, default_root_dir=folder)
        return monitor, sharpness, folder

    drawn: dict[str, Any] = {}
    lazy, curved, one = run(True)
    eager, known, other = run(False)
    assert lazy.history == eager.history
    assert torch.load(one / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3
    of_step_2 = {tag: [row for row in rows if row[0] == 2] for tag, rows in known.history.items()}
    assert curved.history == of_step_2  # at step 0 there was nothing to measure
    if wide == 2:
        layout, records = read_records(one / "path")
        assert layout == read_records(other / "path")[0]
        assert records.tobytes() == read_records(other / "path")[1].tobytes()
    else:
        assert not (one / "path").exists()


def test_no_steps_between_two_measurements_is_refused():
    with pytest.raises(ValueError, match="Invalid every: 0"):
        OptimizerMonitor(0)
    with pytest.raises(ValueError, match="Invalid write_every: 0"):
        OptimizerMonitor(write_every=0)


def _in_processes(strategy: str, written: Path) -> None:
    histories, module = {}, Net("sgd")
    for optimizer in OPTIMIZERS:
        monitor = OptimizerMonitor(layers=True)
        module = Net(optimizer)
        module.train_dataloader = partial(_share, module)  # type: ignore[method-assign]
        fit(
            module,
            monitor,
            strategy="ddp_find_unused_parameters_true" if strategy == "ddp" else strategy,
            devices=2,
            use_distributed_sampler=False,
            accumulate_grad_batches=2,
            gradient_clip_val=0.2,
        )
        histories[optimizer] = monitor.history
    if module.trainer.is_global_zero:
        written.write_text(json.dumps(histories))


def _bad_batch(folder: Path) -> None:
    """Trains until a batch of the second process has a NaN."""
    module, monitor = Net("sgd"), OptimizerMonitor()
    module.inputs[2 * BATCH + BATCH // 2 :][: BATCH // 4] = math.nan
    module.train_dataloader = partial(_share, module)  # type: ignore[method-assign]
    message = ""
    try:
        fit(
            module,
            monitor,
            strategy="ddp_find_unused_parameters_true",
            devices=2,
            use_distributed_sampler=False,
            accumulate_grad_batches=2,
        )
    except Diverged as error:
        message = str(error)
    counts = monitor.count_updates(module.trainer), monitor.evaluations
    (folder / str(module.trainer.global_rank)).write_text(json.dumps([message, *counts]))


def _share(module: Net) -> DataLoader[Any]:
    """This process's half of each batch, in two micro-batches."""
    rank, rows = module.trainer.global_rank, torch.arange(STEPS * BATCH)
    mine = rows.view(STEPS, 2, 2, BATCH // 4)[:, rank].reshape(-1, BATCH // 4)
    batches: Any = [(module.inputs[part], module.targets[part]) for part in mine]
    return DataLoader(batches, batch_size=None)


if __name__ == "__main__":
    if sys.argv[1] == "bad":
        _bad_batch(Path(sys.argv[2]))
    else:
        _in_processes(sys.argv[1], Path(sys.argv[2]))
