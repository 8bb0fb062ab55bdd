"""The curvature of a training: against whole Hessians, plain loops, and runs without it."""

import json
import os
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torchmetrics.classification import MulticlassAccuracy

import scratchopt
from scratchopt import stability
from scratchopt.batches import Batches
from scratchopt.lightning import (
    Checkpoint,
    LiveLoss,
    Lookahead,
    OptimizerMonitor,
    RandomState,
    Sharpness,
)
from scratchopt.pictures.sharpness_figure import sharpness_figures
from scratchopt.pictures.style import save
from tests.shared import commands
from tests.shared.cases import CASES, row, take_step
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*`dataloader_iter`"),
    # torch's compiler imports a module of torch's that warns.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning"),
]
TAGS = ("sharpness", "sharpness_error", "predicted_decrease", "actual_decrease")
GENERATOR = torch.Generator().manual_seed(3)
INPUTS = torch.randn(24, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(3, (24,), generator=GENERATOR)


class Net(LightningModule):
    """A small network that knows of no optimizer; it keeps the points where it was evaluated."""

    def __init__(self, make: Any, layers: Any = None, batch_size: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = layers or torch.nn.Sequential(
            torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)
        )
        self.make, self.batch_size = make, batch_size
        self.points: list[Any] = []

    def training_step(self, batch, batch_idx) -> Any:
        inputs, labels = batch
        self.points.append({k: p.detach().clone() for k, p in self.net.named_parameters()})
        return F.cross_entropy(self.net(inputs.to(next(self.parameters()).dtype)), labels)

    def configure_optimizers(self):
        return self.make(self.parameters())

    def train_dataloader(self) -> Any:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        size = self.batch_size // world_size
        data = [INPUTS, LABELS]
        return Batches(data, size, shuffle=False, seed=0, rank=rank, world_size=world_size)


def trainer_of(callbacks: list[Any], folder: Any = None, **options: Any) -> Trainer:
    settings: dict[str, Any] = {"precision": "64-true", "max_epochs": 2}
    settings |= {"use_distributed_sampler": False} | options
    return quiet_trainer(callbacks, default_root_dir=folder, **settings)


def fit(module: Any, sharpness: Sharpness | None, **options: Any) -> dict[str, list[Any]]:
    """Trains; returns what was measured, by the tags' last words."""
    measured = [] if sharpness is None else [sharpness]
    trainer_of([Lookahead(), OptimizerMonitor(), LiveLoss(), *measured], **options).fit(module)
    history = {} if sharpness is None else sharpness.history
    return {tag.removeprefix("train/"): series for tag, series in history.items()}


def batch(step: int, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    rows = slice(step * size % 24, step * size % 24 + size)
    return INPUTS[rows], LABELS[rows]


def loss_at(net: Any, point: Any, step: int) -> torch.Tensor:
    inputs, labels = batch(step)
    return F.cross_entropy(functional_call(net, point, inputs), labels)


def dense_hessian(net: Any, point: Any, step: int) -> torch.Tensor:
    """The Hessian of a batch's loss, in the order of the parameters."""
    shapes = {k: p.shape for k, p in point.items()}

    def loss(vector):
        pieces = vector.split([s.numel() for s in shapes.values()])
        values = {k: v.view(s) for (k, s), v in zip(shapes.items(), pieces, strict=True)}
        return loss_at(net, values, step)

    return hessian(loss, flat(point))  # type: ignore[return-value]


def flat(point: Any) -> torch.Tensor:
    return torch.cat([p.flatten() for p in point.values()])


# The curvature


@pytest.mark.parametrize("row", ["sgd", "momentum", "nag", "nag_torch", "newton_cg"])
def test_the_sharpness_is_the_largest_eigenvalue_of_the_whole_hessian(row):
    """At each evaluated point; to 1e-8 of it with tol=1e-6, as the error is that of the square."""
    case = CASES[row]
    settings = case.settings | ({"lr": 0.5} if row == "newton_cg" else {})
    module = Net(lambda p: case.cls(p, **settings))
    found = fit(module, Sharpness(1, tol=1e-6))
    assert [step for step, _ in found["sharpness"]] == list(range(8))
    seen = []
    for step, value in found["sharpness"]:
        point = module.points[step]
        eigenvalues = torch.linalg.eigvalsh(dense_hessian(module.net, point, step))
        seen.append(abs(value / eigenvalues[-1].item() - 1))
    assert max(seen) < 1e-8


def paper_preconditioner(name: str, gradients: list[torch.Tensor], settings: Any) -> torch.Tensor:
    """P of the last step, from all gradients: the formulas of the papers in plain float64."""
    lr_decay, eps = settings.get("lr_decay", 0.0), settings.get("eps", 1e-8)
    beta1, beta2 = settings.get("betas", (0.9, 0.999))
    t, v, m, highest, total = len(gradients), 0.0, 0.0, 0.0, 0.0
    for g in gradients:
        if name == "rmsprop":
            alpha = settings.get("alpha", 0.99)
            v, m = alpha * v + (1 - alpha) * g**2, alpha * m + (1 - alpha) * g
        else:
            v = beta2 * v + (1 - beta2) * g**2
        highest = torch.maximum(torch.as_tensor(highest), torch.as_tensor(v))
        total = total + g**2
    if name == "adagrad":
        return (total**0.5 + settings.get("eps", 1e-10)) * (1 + (t - 1) * lr_decay)
    if name == "rmsprop":
        return torch.as_tensor(v - m**2 if settings.get("centered") else v).sqrt() + eps
    v = highest if settings.get("amsgrad") else v
    return (1 - beta1**t) * ((torch.as_tensor(v) / (1 - beta2**t)).sqrt() + eps)


ADAPTIVE = {
    "adam": (("Adam",), {"lr": 0.01, "eps": 1e-3}),
    "adam, other betas": (("Adam",), {"lr": 0.01, "betas": (0.5, 0.9)}),
    "adam, amsgrad": (("Adam",), {"lr": 0.01, "amsgrad": True, "betas": (0.9, 0.6)}),
    "adam, penalty": (("Adam",), {"lr": 0.01, "weight_decay": 0.3}),
    "adamw": (("AdamW",), {"lr": 0.01, "weight_decay": 0.3}),
    "rmsprop": (("RMSprop",), {"lr": 0.01, "alpha": 0.9, "eps": 1e-3}),
    "rmsprop, centered, momentum": (
        ("RMSprop",),
        {"lr": 0.01, "alpha": 0.9, "centered": True, "momentum": 0.5, "eps": 1e-3},
    ),
    "adagrad": (("Adagrad",), {"lr": 0.1, "lr_decay": 0.2, "eps": 1e-3}),
    "adagrad, penalty": (("Adagrad",), {"lr": 0.1, "weight_decay": 0.2}),
}


@pytest.mark.parametrize("library", [scratchopt, torch.optim], ids=["ours", "torch"])
@pytest.mark.parametrize("kind", ADAPTIVE)
def test_an_adaptive_method_s_sharpness_is_that_of_its_paper_s_preconditioner(kind, library):
    """The largest eigenvalue of the dense P⁻¹(H + weight_decay·I) is found to 1e-8 of it."""
    (name,), settings = ADAPTIVE[kind]
    module = Net(lambda p: getattr(library, name)(p, **settings))
    found = fit(module, Sharpness(1, tol=1e-7))
    decay = settings.get("weight_decay", 0.0) if name != "AdamW" else 0.0
    gradients, seen = [], []
    for step, value in found["sharpness"]:
        point = {k: p.clone().requires_grad_() for k, p in module.points[step].items()}
        g = torch.autograd.grad(loss_at(module.net, point, step), list(point.values()))
        gradients.append(torch.cat([x.flatten() for x in g]) + decay * flat(point).detach())
        p = paper_preconditioner(name.lower().rstrip("w"), gradients, settings)
        h = dense_hessian(module.net, module.points[step], step)
        h += decay * torch.eye(len(p), dtype=p.dtype)
        expected = torch.linalg.eigvals(h / p[:, None]).real.max().item()
        seen.append(abs(value / expected - 1))
    assert len(seen) == 8
    assert max(seen) < 1e-8


# The limit


def _limits() -> dict[str, tuple[Any, float]]:
    """Optimizers and what Cohen et al. (2022) or the heavy ball's roots say of lr·λ."""
    ours, torchs = scratchopt, torch.optim
    heavy, nesterov = 2 * 1.8, 2 * 1.8 / 2.6  # μ = 0.8
    adam = 2 * 1.8 / 0.2
    return {
        "SGD": (partial(ours.SGD), 2.0),
        "SGD, weight decay": (partial(ours.SGD, weight_decay=0.7), 2.0),
        "Momentum": (partial(ours.Momentum, momentum=0.8), heavy),
        "Momentum, weight decay": (partial(ours.Momentum, momentum=0.8, weight_decay=0.7), heavy),
        "NAG": (partial(ours.NAG, momentum=0.8), nesterov),
        "NAG, weight decay": (partial(ours.NAG, momentum=0.8, weight_decay=0.7), nesterov),
        "NAGTorch": (partial(ours.NAGTorch, momentum=0.8), nesterov),
        "AdEMAMix": (
            partial(ours.AdEMAMix, betas=(0.8, 0.99, 0.9), alpha=5.0),
            2 / (0.2 / 1.8 + 5 * 0.1 / 1.9),
        ),
        "torch SGD": (partial(torchs.SGD), 2.0),
        "torch SGD, dampening alone": (partial(torchs.SGD, dampening=0.5), 2.0),
        "torch momentum": (partial(torchs.SGD, momentum=0.8), heavy),
        "torch dampened": (partial(torchs.SGD, momentum=0.8, dampening=0.5), 2 * heavy),
        "torch Nesterov": (partial(torchs.SGD, momentum=0.8, nesterov=True), nesterov),
        **{
            f"{name} {rest}": (partial(getattr(library, cls), **settings), limit)
            for name, library in (("our", ours), ("torch", torchs))
            for rest, (cls, settings, limit) in {
                "Adam": ("Adam", {"betas": (0.8, 0.99)}, adam),
                "AMSGrad": ("Adam", {"betas": (0.8, 0.99), "amsgrad": True}, adam),
                "Adam, penalty": ("Adam", {"betas": (0.8, 0.99), "weight_decay": 0.7}, adam),
                "AdamW": ("AdamW", {"betas": (0.8, 0.99), "weight_decay": 0.0}, adam),
                "RMSprop": ("RMSprop", {}, 2.0),
                "RMSprop, momentum": ("RMSprop", {"momentum": 0.8}, heavy),
                "NAdam": ("NAdam", {"betas": (0.8, 0.99), "momentum_decay": 1e3}, 3.6 / 0.2 / 2.6),
                "RAdam": ("RAdam", {"betas": (0.8, 0.99)}, adam),
                "RAdam, never adaptive": ("RAdam", {"betas": (0.8, 0.6)}, adam),
                "Adagrad": ("Adagrad", {}, 2.0),
                "Adagrad, slowing": ("Adagrad", {"lr_decay": 0.3}, 2.0),
            }.items()
        },
    }


LIMITS = _limits()


def hold_still(optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    """Gives an adaptive method the v that it had, 4, and t 10,000: its P is then constant."""
    state = optimizer.state[x]
    for key in ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"):
        if key in state:
            state[key].fill_(4.0)
    if "exp_avg_sq" in state or "sum" in state:
        state["step"] = torch.full_like(torch.as_tensor(state["step"]), 1e4)


@torch.no_grad()
def begin(optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    """At a small x, that moves nowhere yet."""
    x.fill_(1e-9)
    for key, value in optimizer.state[x].items():
        if isinstance(value, torch.Tensor) and key != "step":
            value.zero_()
    hold_still(optimizer, x)


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_one_per_cent_below_its_limit_an_optimizer_converges_and_above_it_diverges(kind, factor):
    """The loss is ½·h·x², with h such that (h + weight_decay)/P is that much of the limit."""
    make, expected = LIMITS[kind]
    x = torch.nn.Parameter(torch.full((1,), 1e-9, dtype=torch.float64))
    optimizer = make([x], lr=0.05)
    groups = stability.read_settings(optimizer)
    limit = stability.limit(optimizer, groups)
    assert limit is not None
    assert limit * 0.05 == pytest.approx(expected, rel=1e-14)
    take_step(optimizer, lambda: (x**2).sum())  # makes the state
    begin(optimizer, x)
    penalty = 0.0 if stability.decouples(groups[0]) else groups[0]["weight_decay"]
    h = factor * limit * stability.preconditioner(optimizer, x, groups[0]).item() - penalty
    sizes = [x.item()]
    while len(sizes) < 1500 and sizes[-1] < 1e-3:
        take_step(optimizer, lambda: h * (x**2).sum() / 2)
        hold_still(optimizer, x)
        sizes.append(abs(x.item()))
    early, late = max(sizes[:40]), max(sizes[-40:])
    assert (late < early / 3) if factor < 1 else (late > 3 * early)


@pytest.mark.parametrize("library", [scratchopt, torch.optim], ids=["ours", "torch"])
def test_a_decoupled_weight_decay_lowers_adamw_s_limit(library):
    """z² − (1 − lr·w + β₁ − lr·(1 − β₁)·λ)z + β₁(1 − lr·w) has the root −1 there."""
    lr, w, beta1 = 0.1, 4.0, 0.8
    x = torch.nn.Parameter(torch.zeros(1))
    optimizer = library.AdamW([x], lr=lr, weight_decay=w, betas=(beta1, 0.99))
    limit = stability.limit(optimizer, stability.read_settings(optimizer))
    assert limit is not None
    trace = 1 - lr * w + beta1 - lr * (1 - beta1) * limit
    roots = np.roots([1, -trace, beta1 * (1 - lr * w)])
    assert min(roots.real) == pytest.approx(-1, abs=1e-12)


def test_the_limit_follows_the_schedule_of_lr_and_momentum():
    """OneCycleLR moves both after each step; the limit is that of the step's own."""
    used = []

    def configure(params):
        made = scratchopt.NAG(params, lr=0.1, momentum=0.9)
        made.register_step_pre_hook(lambda o, *_: used.append(dict(o.param_groups[0])))
        one_cycle = lr_scheduler.OneCycleLR(made, 0.2, total_steps=9)
        return {"optimizer": made, "lr_scheduler": {"scheduler": one_cycle, "interval": "step"}}

    class Scheduled(Net):
        def configure_optimizers(self):
            return configure(self.parameters())

    found = fit(Scheduled(None), Sharpness(1))
    expected = [
        (2 + 2 * group["momentum"]) / (1 + 2 * group["momentum"]) / group["lr"] for group in used
    ]
    assert len(set(expected)) == 8
    assert [value for _, value in found["sharpness_limit"]] == pytest.approx(expected, rel=1e-14)


WITHOUT = {
    "newton": lambda p: scratchopt.Newton(p, damping=1.0),
    "an optimizer that is not known": lambda p: torch.optim.Adamax(p, lr=0.01),
    "one that ascends": lambda p: scratchopt.SGD(p, lr=1e-3, maximize=True),
    "lr 0": lambda p: scratchopt.SGD(p, lr=0.0),
    "groups that differ": lambda p: torch.optim.SGD(
        [{"params": q, "lr": 0.1 * (i + 1)} for i, q in enumerate(p)], lr=0.1
    ),
}


@pytest.mark.parametrize("kind", WITHOUT)
def test_where_there_is_no_limit_there_is_no_line(kind):
    found = fit(Net(WITHOUT[kind]), Sharpness(1))
    assert set(found) == set(TAGS)
    assert [len(series) for series in found.values()] == [8] * 4


# Decreases


@pytest.mark.parametrize("row", CASES)
def test_the_predicted_decrease_is_exact_on_a_quadratic(row):
    """Least squares: predicted and actual are the same to 1e-13, and the loss's own."""

    class Squares(Net):
        def training_step(self, batch, batch_idx):
            return ((self.net(batch[0])[:, 0] - batch[1]) ** 2).mean()

    case = CASES[row]
    module = Squares(lambda p: case.cls(p, **case.settings), torch.nn.Linear(5, 1))
    found = fit(module, Sharpness(1))
    predicted, actual = ([v for _, v in found[f"{k}_decrease"]] for k in ("predicted", "actual"))
    assert len(actual) == 8
    assert max(map(abs, actual)) > 1e-3
    assert predicted == pytest.approx(actual, rel=0, abs=1e-13)


@pytest.mark.parametrize("row", ["sgd", "nag", "nag_torch", "adam"])
def test_decreases_are_those_of_a_plain_loop(row):
    """θ_i to θ_{i+1} on batch i; predicted by g and the dense H, of NAG at its lookahead point."""
    case = CASES[row]
    module = Net(lambda p: case.cls(p, **case.settings))
    found = fit(module, Sharpness(1))
    twin = Net(None).double()
    optimizer: Any = case.cls(twin.parameters(), **case.settings)
    for step in range(8):
        ahead = row == "nag"
        start = {k: p.detach().clone() for k, p in twin.net.named_parameters()}
        before = loss_at(twin.net, start, step).item()
        if ahead:
            optimizer.lookahead_()
        point = {k: p.detach().clone() for k, p in twin.net.named_parameters()}
        inputs, labels = batch(step)
        take_step(optimizer, lambda x=inputs, y=labels: F.cross_entropy(twin.net(x), y))
        end = {k: p.detach().clone() for k, p in twin.net.named_parameters()}
        actual = before - loss_at(twin.net, end, step).item()
        assert found["actual_decrease"][step] == (step, pytest.approx(actual, abs=1e-14))
        leaves = {k: p.clone().requires_grad_() for k, p in point.items()}
        g = torch.autograd.grad(loss_at(twin.net, leaves, step), list(leaves.values()))
        g, h = torch.cat([x.flatten() for x in g]), dense_hessian(twin.net, point, step)
        a, b = flat(start) - flat(point), flat(end) - flat(point)
        predicted = (g @ a + a @ h @ a / 2 - g @ b - b @ h @ b / 2).item()
        assert found["predicted_decrease"][step][1] == pytest.approx(predicted, abs=1e-13)


def test_nag_without_the_callback_lookahead_is_measured_alike():
    def make(p):
        return scratchopt.NAG(p, lr=0.1, momentum=0.9)

    found = fit(Net(make), Sharpness(1))
    alone = Sharpness(1)
    trainer_of([alone]).fit(Net(make))
    assert {f"train/{tag}": series for tag, series in found.items()} == alone.history


# What a Trainer does


class Full(Net):
    """A net with everything that a second call of training_step could disturb."""

    def __init__(self, make: Any) -> None:
        layers = torch.nn.Sequential(
            torch.nn.Linear(5, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Tanh(),
            torch.nn.Dropout(0.4),
            torch.nn.Linear(8, 3),
        )
        super().__init__(make, layers)
        self.accuracy = MulticlassAccuracy(3)
        self.count, self.total = 0, torch.zeros(())
        self.noise: list[Any] = []

    def training_step(self, batch, batch_idx) -> Any:
        inputs, labels = batch
        self.noise.append((np.random.rand(), torch.rand(1).item()))
        self.count += 1
        self.total += 1
        inputs += 0.1  # in place: a second call must not see it
        logits = self.net(inputs.to(self.net[0].weight.dtype))
        self.accuracy(logits, labels)
        self.log("accuracy", self.accuracy, on_epoch=True)
        loss = F.cross_entropy(logits, labels) * (1 + 0.01 * self.count) + 0.01 * self.noise[-1][0]
        self.log("mean", loss, on_step=True, on_epoch=True)
        return {"loss": loss, "logits": logits}


def ended(module: Any, trainer: Trainer) -> dict[str, Any]:
    """The state that a measurement might have changed."""
    return {
        "parameters and buffers": {k: v.tolist() for k, v in module.state_dict().items()},
        "optimizer": str(trainer.optimizers[0].state_dict()),
        "attributes": (module.count, module.total.item(), module.noise),
        "metrics": {k: v.item() for k, v in trainer.callback_metrics.items()},
        "random": (torch.rand(1).item(), np.random.rand()),
        "points": [[p.tolist() for p in point.values()] for point in module.points],
    }


OPTIONS: dict[str, dict[str, Any]] = {
    "float64": {},
    "float32": {"precision": "32-true"},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "accumulated": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
}


@pytest.mark.parametrize(
    ("name", "options"),
    [row(name, name, "float64", core=True) for name in CASES]
    + [(name, o) for name in ("nag", "adam") for o in OPTIONS if o != "float64"],
)
def test_training_is_bit_for_bit_what_it_is_without(name, options):
    """Dropout, BatchNorm, metrics, counters, NumPy's and torch's random numbers."""
    case, came = CASES[name], []
    for sharpness in (Sharpness(1), None):
        seed_everything(0, verbose=False)
        module = Full(lambda p: case.cls(p, **case.settings))
        measured = [] if sharpness is None else [sharpness]
        trainer = trainer_of([Lookahead(), LiveLoss(), *measured], **OPTIONS[options])
        trainer.fit(module)
        came.append(ended(module, trainer))
        assert vars(module).get("training_step") is None
    assert came[0] == came[1]


def test_a_batch_that_is_changed_in_place_is_measured_as_it_came():
    class InPlace(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch[0].mul_(1.1), batch[1]), batch_idx)

    class NotInPlace(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch[0] * 1.1, batch[1]), batch_idx)

    found, expected = (
        fit(cls(partial(scratchopt.NAG, lr=0.1)), Sharpness(1)) for cls in (InPlace, NotInPlace)
    )
    assert found == expected


def test_of_accumulated_batches_it_measures_the_first():
    module = Net(lambda p: scratchopt.SGD(p, lr=0.5))
    found = fit(module, Sharpness(1, tol=1e-6), accumulate_grad_batches=2)
    assert [step for step, _ in found["sharpness"]] == [0, 1, 2, 3]
    for step, value in found["sharpness"]:
        start, end = module.points[2 * step], module.points[2 * step + 1]
        assert torch.equal(flat(start), flat(end))
        largest = torch.linalg.eigvalsh(dense_hessian(module.net, start, 2 * step))[-1].item()
        assert value == pytest.approx(largest, rel=1e-8)
        if step < 3:
            end = module.points[2 * step + 2]
            decrease = loss_at(module.net, start, 2 * step) - loss_at(module.net, end, 2 * step)
            assert found["actual_decrease"][step][1] == pytest.approx(decrease.item(), abs=1e-14)


def test_a_grad_scaler_s_factor_is_taken_off_and_a_step_that_it_skips_gains_nothing():
    """The curvature in float16 is float32's to 1 %, and training is bit for bit as without."""

    def scaled(start: float) -> dict[str, Any]:
        scaler = torch.amp.GradScaler("cpu", init_scale=start)
        return {"precision": None, "plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}

    plain = fit(Net(partial(scratchopt.SGD, lr=0.1)), Sharpness(8), precision="32-true")
    found = fit(Net(partial(scratchopt.SGD, lr=0.1)), Sharpness(8), **scaled(2.0**10))
    for tag, series in found.items():
        assert series[0][1] == pytest.approx(plain[tag][0][1], rel=1e-2, abs=1e-3)
    with_it, without = (Net(partial(scratchopt.Adam, lr=0.05)) for _ in range(2))
    found = fit(with_it, Sharpness(1), **scaled(2.0**19))  # the first steps overflow
    fit(without, None, **scaled(2.0**19))
    assert [p.tolist() for p in with_it.parameters()] == [p.tolist() for p in without.parameters()]
    points = [flat(point) for point in with_it.points]
    stood = [step for step, (a, b) in enumerate(pairwise(points)) if torch.equal(a, b)]
    assert 1 <= len(stood) < 7
    assert all(dict(found["actual_decrease"])[step] == 0 for step in stood)
    assert stood[0] not in dict(found["sharpness"])  # Adam has no v yet


def test_under_bf16_mixed_the_loss_is_the_module_s_and_the_curvature_that_of_it():
    """Curvature to bfloat16's three digits of float32's; the loss, and so the decrease, exactly."""

    class Keeping(Net):
        losses: list[float]

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.losses.append(loss.item())
            return loss

        def train_dataloader(self):
            return torch.utils.data.DataLoader([(INPUTS[:6], LABELS[:6])] * 8, batch_size=None)  # type: ignore[arg-type]

    def run(precision):
        module = Keeping(lambda p: scratchopt.SGD(p, lr=0.2))
        module.losses = []
        found = fit(module, Sharpness(1), precision=precision, max_epochs=1)
        return found, module.losses

    (mixed, losses), (plain, _) = run("bf16-mixed"), run("32-true")
    values = [[value for _, value in found["sharpness"]] for found in (mixed, plain)]
    assert values[0] == pytest.approx(values[1], rel=2e-2)
    assert values[0] != pytest.approx(values[1], rel=1e-5)
    decreases = [value for _, value in mixed["actual_decrease"]][:-1]
    assert decreases == [a - b for a, b in pairwise(losses)]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_transformer_is_measured(dropout):
    """The fast attention, torch's choice without dropout, has no second derivative; the slower one,
    which has, takes its place.
    """

    class Copier(LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed = torch.nn.Embedding(8, 16)
            layer = torch.nn.TransformerEncoderLayer(16, 2, 32, dropout, batch_first=True)
            self.encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
            self.head = torch.nn.Linear(16, 8)

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.head(self.encoder(self.embed(batch))).mT, batch)

        def configure_optimizers(self):
            return scratchopt.Adam(self.parameters(), lr=1e-3)

        def train_dataloader(self):
            tokens = torch.randint(8, (16, 8), generator=torch.Generator().manual_seed(0))
            return torch.utils.data.DataLoader(tokens, batch_size=4)  # type: ignore[arg-type]

    came = []
    for sharpness in (Sharpness(2, tol=1e-2), None):
        seed_everything(0, verbose=False)
        module = Copier()
        found = fit(module, sharpness, precision="32-true")
        came.append([p.tolist() for p in module.parameters()])
        if sharpness is not None:
            assert [step for step, _ in found["sharpness"]] == [0, 2, 4, 6]
            assert all(value > 0 for _, value in found["sharpness"])
            pairs = zip(found["predicted_decrease"], found["actual_decrease"], strict=True)
            assert all(a == pytest.approx(b, rel=0.2) for (_, a), (_, b) in pairs)
    assert came[0] == came[1]


def test_lightning_s_boring_model_is_measured():
    """Prediction is exact to float32's digits, as the loss is a mean square of a linear map."""
    module: Any = BoringModel()
    found = fit(module, Sharpness(10), precision="32-true", max_epochs=1, limit_val_batches=0)
    assert [step for step, _ in found["sharpness"]] == [0, 10, 20, 30, 40, 50, 60]
    assert all(limit == pytest.approx(20) for _, limit in found["sharpness_limit"])
    actual, predicted = (np.array(found[f"{k}_decrease"]) for k in ("actual", "predicted"))
    np.testing.assert_allclose(predicted, actual, rtol=1e-3, atol=1e-6)


def test_a_resumed_run_keeps_its_history(tmp_path):
    def run(folder, steps, resume=None):
        sharpness, logger = Sharpness(2), Rows()
        module = Full(lambda p: scratchopt.NAG(p, lr=0.05, momentum=0.9))
        callbacks = [Lookahead(), sharpness, Checkpoint(steps=1), RandomState()]
        trainer = trainer_of(callbacks, folder, max_steps=steps, max_epochs=-1, logger=logger)
        trainer.fit(module, ckpt_path=resume, weights_only=True)
        return sharpness.history, logger.rows

    class Rows(DummyLogger):
        def __init__(self):
            super().__init__()
            self.rows: dict[tuple[str, int], float] = {}

        def log_metrics(self, metrics, step):
            self.rows |= {(tag, step): value for tag, value in metrics.items()}

    torch.manual_seed(0)
    run(tmp_path, 5)
    resumed, rows = run(tmp_path, 9, tmp_path / "checkpoints" / "last.ckpt")
    assert [step for step, _ in resumed["train/sharpness"]] == [0, 2, 4, 6, 8]
    logged = {(tag, step): v for tag, row in resumed.items() for step, v in row if step >= 5}
    assert logged.items() <= rows.items()
    assert {step for tag, step in rows if "sharpness" in tag} == {6, 8}


def test_where_the_products_end_first_there_is_a_warning_once():
    module = Net(lambda p: scratchopt.SGD(p, lr=0.1))
    with pytest.warns(UserWarning, match=r"after 2 products: Sharpness\(iterations") as caught:
        found = fit(module, Sharpness(1, iterations=2, tol=1e-6))
    assert len([w for w in caught if "products" in str(w.message)]) == 1
    assert len(found["sharpness"]) == 8
    for (step, value), (_, error) in zip(found["sharpness"], found["sharpness_error"], strict=True):
        values = torch.linalg.eigvalsh(dense_hessian(module.net, module.points[step], step))
        assert (values - value).abs().min() <= error


# Processes


def test_two_processes_measure_what_one_does_with_the_whole_batch(tmp_path):
    run_by_two(__name__, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    for name in PROCESSES:
        one = fit(Net(partial(CASES[name].cls, **CASES[name].settings)), Sharpness(1, tol=1e-8))
        assert first[name].keys() == one.keys()
        for tag in ("sharpness", "sharpness_limit", "predicted_decrease", "actual_decrease"):
            np.testing.assert_allclose(first[name][tag], one[tag], rtol=1e-7, atol=1e-12)
    assert first["alike"]
    assert "needs all parameters in each process" in first["fsdp2"]


PROCESSES = ("nag", "adam")


def _process(folder: Path) -> None:
    torch.set_num_threads(1)
    came: dict[str, Any] = {}
    options = {"strategy": "ddp", "devices": 2}
    for name in PROCESSES:
        make = partial(CASES[name].cls, **CASES[name].settings)
        came[name] = fit(Net(make), Sharpness(1, tol=1e-8), **options)
    ends = []
    for sharpness in (Sharpness(1), None):
        seed_everything(0, verbose=False)
        module = Full(partial(CASES["nag"].cls, **CASES["nag"].settings))
        seed_everything(int(os.environ["RANK"]), verbose=False)
        fit(module, sharpness, **options)
        ends.append({k: v.tolist() for k, v in module.state_dict().items()})
    came["alike"] = ends[0] == ends[1]
    try:
        fit(Net(partial(scratchopt.SGD, lr=0.1)), Sharpness(1), strategy="fsdp2", devices=2)
    except RuntimeError as error:
        came["fsdp2"] = str(error)
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(came))


# Refusals


def _by_hand() -> Any:
    module = Net(lambda p: scratchopt.SGD(p, lr=0.1))
    module.automatic_optimization = False
    return module


class _OfItsOwn(Net):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * torch.rand(1, generator=GENERATOR)[0]


class _Iterating(Net):
    def training_step(self, dataloader_iter):  # type: ignore[override]
        raise AssertionError


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # type: ignore[override]
        return 2 * grads[0]


class _WithoutSecond(Net):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(_Once.apply(self.net(batch[0])), batch[1])


class _CompiledFunction(Net):
    def training_step(self, batch, batch_idx):
        return self.function(*batch)

    def on_fit_start(self):
        self.function = torch.compile(lambda x, y: F.cross_entropy(self.net(x), y))


class _Complex(Net):
    def __init__(self, make: Any) -> None:
        super().__init__(make)
        self.z = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex128))


def _compiled_part() -> Any:
    module = Net(_sgd)
    module.net[0] = torch.compile(module.net[0])  # type: ignore[assignment]
    return module


_sgd = partial(scratchopt.SGD, lr=0.1)
REFUSED = {
    "a compiled module": (lambda: torch.compile(Net(_sgd)), r"without torch\.compile"),
    "a compiled part": (_compiled_part, r"without torch\.compile"),
    "a compiled function": (lambda: _CompiledFunction(_sgd), r"without torch\.compile"),
    "manual optimization": (_by_hand, "needs automatic optimization"),
    "a generator of its own": (lambda: _OfItsOwn(_sgd), "computed again it is"),
    "an iterator for a batch": (lambda: _Iterating(_sgd), "not a dataloader_iter"),
    "no second derivative": (lambda: _WithoutSecond(_sgd), "Sharpness needs second derivatives"),
    "complex parameters": (lambda: _Complex(_sgd), "not for complex ones"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_curvature_to_measure_is_refused_in_one_line(kind):
    make, words = REFUSED[kind]
    module = make()
    with pytest.raises(RuntimeError, match=words) as refused:
        trainer_of([Sharpness(1)]).fit(module)
    assert "\n" not in str(refused.value)
    assert getattr(module, "_orig_mod", module).training_step.__name__ == "training_step"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "Invalid every: 0"),
        ({"iterations": 0}, "Invalid iterations: 0"),
        ({"tol": -0.1}, "Invalid tol: -0.1"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Sharpness(**({"every": 1} | options))


# Runs and pictures


def test_a_run_measures_and_draws_its_sharpness(tmp_path):
    """Least squares is a quadratic: one sharpness, and each prediction right."""
    from scratchopt.runs.directory import find_runs  # which the processes above would not find

    options = ("task=linear_regression", "task.dtype=float64", "hydra.run.dir=run", "max_steps=9")
    done = commands.run("train", *options, "optimizer=momentum", "sharpness_every=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = find_runs([tmp_path / "run"])
    found = {tag: dict(series) for tag, series in run.history.items()}
    assert list(found["train/sharpness"]) == [0, 4, 8]
    assert found["train/sharpness"][8] == pytest.approx(found["train/sharpness"][0], rel=1e-5)
    predicted, actual = (found[f"train/{kind}_decrease"] for kind in ("predicted", "actual"))
    assert predicted == pytest.approx(actual, rel=1e-5)
    settings = run.config["optimizer"]
    limit = 2 * (1 + settings["momentum"]) / settings["lr"]
    assert found["train/sharpness_limit"][4] == pytest.approx(limit, rel=1e-6)
    assert run.result is not None
    assert run.result.metrics["train/sharpness"] == pytest.approx(found["train/sharpness"][8])
    assert (tmp_path / "run" / "figures" / "sharpness.png").stat().st_size > 10_000
    done = commands.run("plot", "run", "--output", "drawn", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "drawn/sharpness.png" in done.stdout.splitlines()


def test_without_sharpness_every_nothing_is_measured_and_0_is_refused(tmp_path):
    options = ("task=linear_regression", "hydra.run.dir=run", "max_steps=3")
    assert commands.run("train", *options, "validate_every=2", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "run" / "figures" / "sharpness.png").exists()
    done = commands.run("train", *options, "sharpness_every=0", cwd=tmp_path)
    assert done.stderr == ("train.py: sharpness_every=0: must be an integer >= 1, or null\n")


HISTORIES: dict[str, dict[str, list[tuple[int, float]]]] = {
    "one step": {"sharpness": [(0, 2.0)], "actual": [(0, 0.1)], "predicted": [(0, 0.1)]},
    "negative": {"sharpness": [(0, -2.0), (5, -1.0)], "actual": [(0, -1.0)], "predicted": [(0, 0)]},
    "nothing moves": {"sharpness": [(0, 0.0)], "actual": [(0, 0.0)], "predicted": [(0, 0.0)]},
    "not finite": {
        "sharpness": [(0, 1.0), (1, np.nan)],
        "actual": [(0, 1.0), (1, np.inf)],
        "predicted": [(0, 1e300)],
    },
    "many decades": {
        "sharpness": [(0, 1e-3), (1, 1e6)],
        "limit": [(0, 2e5), (1, 3e5)],
        "actual": [(0, 1e-9), (1, -1e3)],
        "predicted": [(0, 1e-9), (1, -1e9)],
    },
    "no decreases": {"sharpness": [(0, 1.0), (1, 2.0)]},
}


@pytest.mark.parametrize("kind", HISTORIES)
def test_whatever_was_measured_can_be_drawn(kind, tmp_path):
    names = {"limit": "sharpness_limit", "actual": "actual_decrease"}
    names |= {"predicted": "predicted_decrease"}
    history = {f"train/{names.get(k, k)}": series for k, series in HISTORIES[kind].items()}
    for loss in ({}, {"train/loss": [(0, 1.0), (1, 0.5)]}):
        figures = sharpness_figures({"a": history | loss, "b": history | loss, "without": loss})
        figure = figures["sharpness"]
        assert len(figure.axes) == 2 * (2 + bool(loss))
        save(figure, tmp_path / "sharpness")
    for series in ([], [(0, np.nan)]):
        assert sharpness_figures({"a": {"train/sharpness": series}}) == {}


class _WithoutIndex(Net):
    def training_step(self, batch):  # type: ignore[override]
        return super().training_step(batch, 0)


def test_a_training_step_that_takes_the_batch_alone_is_measured():
    alone, usual = (fit(cls(_sgd), Sharpness(1)) for cls in (_WithoutIndex, Net))
    assert alone == usual
    assert alone["sharpness"]


if __name__ == "__main__":
    _process(Path(sys.argv[1]))
