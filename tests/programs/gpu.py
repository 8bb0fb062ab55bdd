"""Every optimizer on a GPU, and what is around it, held to the processor, to torch and the papers.

`python -m tests.programs.gpu` makes all checks and prints a line for each: the largest gap among
its cases, and where it was. Beginnings of names choose some:
`python -m tests.programs.gpu graph "Trainer, float"`.
"""

import atexit
import io
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn

from scratchopt import NAG, Newton, from_torch, to_torch
from scratchopt.batches import Batches
from scratchopt.cli.parser import Parser
from scratchopt.lightning import (
    Checkpoint,
    Diverged,
    LiveLoss,
    Lookahead,
    OptimizerMonitor,
    RandomState,
    Sharpness,
)
from scratchopt.second_order.line_search import Trials
from tests.contract.test_torch_twins import BY_STATE_DICT, PAIRS
from tests.programs import semantics
from tests.programs.kills import Dropout
from tests.shared import paper
from tests.shared.cases import CASES, DRIVERS, give
from tests.shared.checkpoints import differences
from tests.shared.paths import OPTIMIZERS, SCRIPTS

SMALL = [(3, 5), (), (7,), (2, 3, 4)]
SHAPES = [*SMALL, (0,), (260, 256)]  # a compiled rule gathers all but the last
WITH_RULE = [row for row, case in CASES.items() if not case.needs_hessian]
WITH_TWIN = [row for row, case in CASES.items() if case.twin]
ADAMS = ["adam", "amsgrad", "adamw"]
CAPTURABLE = [*(row for row in WITH_TWIN if row.startswith("rmsprop")), *ADAMS]
UNTIMED = ["sgd", "momentum", "nag", "nag_torch"]  # the number of the step is not in their rules
FUSED = ["sgd", "nag_torch", *ADAMS]  # of torch's, on a GPU
DOUBLE, SINGLE = 1e-12, 64 * torch.finfo(torch.float32).eps  # after 30 steps


class Check(NamedTuple):
    """A claim about some cases."""

    gap: Callable[[str, str], float]  # of a device and a case; what it raises is a failure
    cases: Iterable[str]
    bound: float  # on every gap


def gap(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> float:
    """The largest difference between two numbers, as a part of 1 + the second's modulus."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        a, b = (t.detach().cpu().to(torch.promote_types(t.dtype, torch.float64)) for t in (a, b))
        part = (a - b).abs() / (1 + b.abs())
        part = part[~((a == b) | (a.isnan() & b.isnan()))]
        if part.numel() and not part.max().item() <= worst:
            worst = part.max().item()
    return worst


# Steps


def stepped(
    device: str, row: str, dtype: torch.dtype, make: Any = None, **options: Any
) -> list[Tensor]:
    """The point to which the same 30 gradients lead on any device, with a row's optimizer."""
    case, generator = CASES[row], torch.Generator().manual_seed(0)
    shapes = SHAPES if case.empty and not case.needs_hessian else SMALL
    draw = partial(torch.randn, dtype=dtype, generator=generator)
    params = [draw(shape).to(device).requires_grad_() for shape in shapes]
    optimizer = (make or case.cls)(params, **(case.settings | options))
    for _ in range(30):
        give(optimizer, params, [draw(shape).to(device) for shape in shapes])
    return params


def like_the_cpu(dtypes: tuple[torch.dtype, ...], device: str, row: str) -> float:
    case = CASES[row]
    return max(
        gap(stepped(device, row, dtype, **DRIVERS[driver]), stepped("cpu", row, dtype))
        for driver in case.drivers
        for dtype in dtypes
        if dtype in case.dtypes
    )


def drivers_agree(device: str, row: str) -> float:
    """The list's, the loop's and the default's, those that there are, in every dtype."""
    case, gaps = CASES[row], [0.0]
    drivers = [d for d in ("list", "loop", "default") if d in case.drivers]
    for dtype in case.dtypes:
        first, *others = (stepped(device, row, dtype, **DRIVERS[d]) for d in drivers)
        gaps += [gap(other, first) for other in others]
    return max(gaps)


def like_torch(ours: dict[str, Any], theirs: dict[str, Any], device: str, row: str) -> float:
    return max(
        gap(
            stepped(device, row, torch.float64, **options, **ours),
            stepped(device, row, torch.float64, CASES[row].oracle, **options, **theirs),
        )
        for options in ({}, {"weight_decay": 0.125, "maximize": True})
    )


def tensor_lr(device: str, row: str) -> float:
    case, gaps = CASES[row], []
    lr = torch.tensor([[case.settings["lr"]]], dtype=torch.float64, device=device)
    for driver in case.drivers:
        plain = stepped(device, row, torch.float64, **DRIVERS[driver])
        gaps.append(gap(stepped(device, row, torch.float64, lr=lr, **DRIVERS[driver]), plain))
    return max(gaps)


def after_small_steps(device: str, row: str, dtype: torch.dtype, **options: Any) -> Tensor:
    """The end of 300 steps that are each too small for bf16; g is 1 or 2."""
    case, generator = CASES[row], torch.Generator().manual_seed(0)
    p = torch.linspace(1, 2, 50).to(torch.bfloat16).to(device, dtype).requires_grad_()
    optimizer = case.cls([p], **{**case.settings, "lr": 1e-4, **options})
    for _ in range(300):
        give(optimizer, [p], [1 + torch.randint(0, 2, (50,), generator=generator).to(p)])
    whole = p.detach().double()
    return (whole + optimizer.state[p].get("compensation", torch.zeros_like(whole))).cpu()


def compensated(device: str, row: str) -> float:
    """How far bf16 is from float32, as a part of the way."""
    expected = after_small_steps("cpu", row, torch.float32)
    way = (expected - torch.linspace(1, 2, 50).to(torch.bfloat16)).abs().max()
    ends = [
        after_small_steps(device, row, torch.bfloat16, **DRIVERS[driver], compensated=True)
        for driver in CASES[row].drivers
    ]
    return max(((end - expected).abs().max() / way).item() for end in ends)


# States


def go_on(optimizer: Any, params: list[Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randn, dtype=torch.float64, generator=generator)
    for _ in range(10):
        give(optimizer, params, [draw(p.shape).to(p.device) for p in params])


def start(device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in SMALL]
    return [p.to(device).requires_grad_() for p in draws]


def moved(params: Iterable[Tensor], device: str) -> list[Tensor]:
    return [p.detach().to(device).clone().requires_grad_() for p in params]


def saved(optimizer: Any) -> Any:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def state_moves(device: str, row: str) -> float:
    """Ten steps on the CPU, ten on the device, ten on the CPU, by checkpoints; any driver."""
    case, gaps = CASES[row], []
    whole = start("cpu")
    optimizer = case.cls(whole, **case.settings)
    for seed in (1, 2, 3):
        go_on(optimizer, whole, seed)
    for driver in case.drivers:
        params, state = start("cpu"), None
        for seed, place in enumerate(("cpu", device, "cpu"), 1):
            params = moved(params, place)
            optimizer = case.cls(params, **case.settings, **DRIVERS[driver])
            if state is not None:
                optimizer.load_state_dict(state)
            go_on(optimizer, params, seed)
            state = saved(optimizer)
        gaps.append(gap(params, whole))
    return max(gaps)


def changes_hands(device: str, name: str) -> float:
    """Ten steps of torch's and ten of ours, or the other way round, and twenty of torch's."""
    pair, _, option = name.partition(", ")
    ours, theirs, settings, extra = PAIRS[pair]
    options = {option: True} if option else {}
    whole, values, twins, again = (start(device) for _ in range(4))
    of_whole = theirs(whole, **settings, **extra, **options)
    before = theirs(values, **settings, **extra, **options)
    first = ours(twins, **settings, **options)
    for optimizer, params in ((of_whole, whole), (before, values), (first, twins)):
        go_on(optimizer, params, 1)
    by_dict = theirs(again, **settings, **extra, **options)
    if pair in BY_STATE_DICT:
        again[:] = moved(twins, device)
        by_dict = theirs(again, **settings, **extra, **options)
        by_dict.load_state_dict(saved(first))
    else:
        go_on(by_dict, again, 1)
    for optimizer, params in (
        (of_whole, whole),
        (from_torch(before), values),
        (to_torch(first), twins),
        (by_dict, again),
    ):
        go_on(optimizer, params, 2)
    return max(gap(params, whole) for params in (values, twins, again))


# CUDA graphs


def repeated(device: str, step: Callable[[], Any]) -> Callable[[], Any]:
    """A function that repeats a step as it was recorded; without a GPU the step itself."""
    if device == "cpu":
        return step
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def eight_steps(device: str, make: Any, row: str, recorded: bool, lrs: bool) -> list[Tensor]:
    """Three steps, then five more, of which a graph may be the first's record."""
    params, settings = start(device), dict(CASES[row].settings)
    lr = torch.tensor(settings["lr"], dtype=torch.float64, device=device)
    optimizer = make(params, **(settings | ({"lr": lr} if lrs else {})))
    for p in params:
        p.grad = torch.zeros_like(p)

    def step() -> None:
        if isinstance(optimizer, NAG):
            optimizer.lookahead_()
        optimizer.step()

    def run(what: Callable[[], Any], steps: Iterable[int]) -> None:
        for i in steps:
            generator = torch.Generator().manual_seed(i)
            lr.fill_(settings["lr"] / (1 + i))
            for p in params:
                assert p.grad is not None
                p.grad.copy_(torch.randn(p.shape, dtype=p.dtype, generator=generator))
            what()

    run(step, range(3))
    run(repeated(device, step) if recorded else step, range(3, 8))
    return params


def graphed(options: dict[str, Any], lrs: bool, device: str, row: str) -> float:
    make = partial(CASES[row].cls, **options)
    ends = (eight_steps(device, make, row, recorded, lrs) for recorded in (True, False))
    return gap(*ends)


def graphed_like_torch(device: str, row: str) -> float:
    ours, theirs = (partial(make, capturable=True) for make in (CASES[row].cls, CASES[row].oracle))
    twin = theirs if device != "cpu" else CASES[row].oracle  # it refuses other devices
    return gap(
        eight_steps(device, ours, row, True, False), eight_steps(device, twin, row, False, False)
    )


def refused_in_a_graph(device: str, row: str) -> float:
    """0 where a rule that counts its steps in Python says so."""
    try:
        eight_steps(device, partial(CASES[row].cls, fused=row == "adamw"), row, True, False)
    except RuntimeError as error:
        return 0.0 if "needs capturable=True" in str(error) else math.inf
    return 0.0 if device == "cpu" else math.inf


# Under a Trainer, held to the papers in float64


def theta(module: Any) -> np.ndarray:
    whole = [getattr(p, "full_tensor", lambda p=p: p)() for p in module.parameters()]
    return torch.cat([p.detach().double().flatten() for p in whole]).cpu().numpy()


def gradient_on_a_gpu(
    theta: Any, rows: Any, to: paper.Rounding = np.float64, scale: float = 1.0
) -> Any:
    """`paper.softmax_gradient` where autocast leaves the log of the softmax in the narrow format.

    On a CPU it has the whole cross entropy in float32.
    """
    x, (w, b) = paper.INPUTS[rows], paper._split(theta)
    logits = to(to(x) @ to(w).T + to(b))
    logs = to(np.log(paper._softmax(logits)))
    with np.errstate(invalid="ignore", over="ignore"):
        of_logs = to(-np.eye(paper.CLASSES)[paper.LABELS[rows]] * (scale / len(rows)))
        error = to(of_logs - np.exp(logs) * of_logs.sum(1, keepdims=True))
        return np.concatenate([to(error.T @ to(x)).ravel(), to(error.sum(0))]).astype(float)


@contextmanager
def on(device: str) -> Iterator[None]:
    """The semantics as they are there."""
    gradient = paper.softmax_gradient if device == "cpu" else gradient_on_a_gpu
    with (
        patch.object(semantics.Softmax, "theta", theta),
        patch.object(paper, "softmax_gradient", gradient),
    ):
        yield


def cell(column: str, device: str, row: str) -> float:
    """A cell of tests/programs/semantics.py; 0 where it is refused as it should be."""
    fit = partial(semantics.fit, accelerator=device)
    with patch.object(semantics, "fit", fit), on(device):
        came = semantics.run(row, column)
    if semantics.verdict(row, column, came) == "refused":
        return 0.0
    if isinstance(came, str):
        raise RuntimeError(came)
    return came


def scaled(more: bool, device: str, row: str) -> float:
    """Under 16-mixed; the scaler's first two steps overflow."""
    scale, clip = semantics.OVERFLOWING, semantics.clipped if more else lambda g: g
    ours, theirs = torch.amp.GradScaler(device, init_scale=scale), paper.Scaler(scale)
    tolerance = 0.02 if row.startswith("newton") else 2e-5
    batches = semantics.steps(2 if more else 1)
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.3} if more else {}
    plugins = [MixedPrecision("16-mixed", device, ours)]
    with on(device):
        expected = semantics.expect(
            row, batches, to=paper.to_float16, scaler=theirs, clip=clip, tolerance=tolerance
        )
        module = semantics.Softmax(semantics.optimizer(row))
        semantics.fit(module, accelerator=device, precision=None, plugins=plugins, **options)
        assert ours.get_scale() == theirs.scale
        return semantics.compare(module, expected)


class Ended(semantics.Softmax):
    """Takes θ while the processes are there."""

    def on_train_end(self) -> None:
        self.end = theta(self)


def one_process(strategy: str, device: str, row: str) -> float:
    """Accumulating, clipping and validating mid-epoch."""
    module = Ended(semantics.optimizer(row))
    expected = semantics.expect(row, semantics.steps(2), clip=semantics.clipped)
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.3, "val_check_interval": 2}
    with on(device):
        try:
            semantics.fit(module, accelerator=device, strategy=strategy, **options)
        except RuntimeError as error:
            column = {"ddp": "DDP", "fsdp2": "FSDP2"}[strategy]
            if semantics.verdict(row, column, str(error)) == "refused":
                return 0.0
            raise
    return float(np.abs(module.end - expected.path[-1]).max() / expected.tolerance)


class Article(LightningModule):
    """sin x + x²/10 from −3, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(-3.0, dtype=torch.float64))

    def training_step(self, batch, batch_idx):
        return torch.sin(self.x) + self.x**2 / 10

    def configure_optimizers(self):
        return NAG(self.parameters(), lr=0.1, momentum=0.9)

    def train_dataloader(self) -> Any:
        return Batches([torch.zeros(5)], 1, shuffle=False, seed=0)


def trap(device: str, under: str) -> float:
    """Ten steps of an exact NAG, where one that looks ahead in its closure goes astray."""
    x, v = -3.0, 0.0
    for _ in range(10):
        ahead = x + 0.9 * v
        v = 0.9 * v - 0.1 * (math.cos(ahead) + ahead / 5)
        x += v
    assert round(x, 6) == -0.698479
    module, options = Article(), {}
    if under == "a scaler":
        scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
        options = {"plugins": [MixedPrecision("16-mixed", device, scaler)], "precision": None}
    semantics.fit(module, accelerator=device, **options)
    return abs(module.x.item() - x)


# Trainings with dropout, resumed and watched


class BreakOff(Callback):
    """Raises at the end of a batch, counted over all epochs."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count = at, 0

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.count += 1
        if self.count == self.at:
            raise KeyError("broken off")


SETTINGS = {row: case.settings for row, case in CASES.items()}
SETTINGS |= {row: CASES[row].settings | {"damping": 20.0} for row in ("newton", "newton_cg")}
SETTINGS["newton_cg"] |= {"cg_iters": 10}


def dropped(
    device: str, row: str, folder: Any, *callbacks: Any, rate: float = 0.5, **options: Any
) -> Dropout:
    """A net on noise, 60 batches an epoch, with an lr that falls each step."""
    case = CASES[row]
    module = Dropout(lambda params: case.cls(params, **SETTINGS[row]))
    module.net[2] = nn.Dropout(rate)
    trainer = Trainer(
        default_root_dir=folder,
        callbacks=[Lookahead(), LiveLoss(), *callbacks],
        accelerator=device,
        devices=1,
        logger=False,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"max_epochs": 2, **options},
    )
    last = Path(folder, "checkpoints", "last.ckpt")
    with suppress(KeyError):
        trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=True)
    return module


def last_checkpoint(folder: Any) -> dict[str, Any]:
    path = Path(folder, "checkpoints", "last.ckpt")
    return torch.load(path, map_location="cpu", weights_only=True)


def resumed(device: str, row: str) -> float:
    """How many values in the last checkpoint are others where the run was broken off."""
    without = row.endswith(", without RandomState")
    row = row.removesuffix(", without RandomState")
    ends = []
    for parts in ([None], [77, None]):
        with tempfile.TemporaryDirectory() as folder:
            for seed, at in enumerate(parts):
                seed_everything(seed, verbose=False)
                torch.manual_seed(0)  # the weights
                kept: list[Callback] = [Reseeded()] if seed else []
                kept += [] if without else [RandomState()]
                callbacks = (OptimizerMonitor(5), *kept, Checkpoint(steps=3), BreakOff(at))
                dropped(device, row, folder, *callbacks, accumulate_grad_batches=2)
            ends.append(last_checkpoint(folder))
    found = differences(ends[0], ends[1])
    return float(not found) if without else float(len(found))


class Reseeded(Callback):
    """Draws other numbers than the first process would."""

    def on_train_start(self, *args: Any, **kwargs: Any) -> None:
        torch.manual_seed(7)


def resumed_elsewhere(device: str, row: str) -> float:
    """A run from a checkpoint of the CPU, on the device, without dropout."""
    ends = []
    for parts in ([("cpu", None)], [("cpu", 77), (device, None)]):
        with tempfile.TemporaryDirectory() as folder:
            for place, at in parts:
                torch.manual_seed(0)
                callbacks = (RandomState(), Checkpoint(steps=3), BreakOff(at))
                dropped(place, row, folder, *callbacks, rate=0.0, precision="64-true")
            ends.append(last_checkpoint(folder)["state_dict"].values())
    return gap(*ends)


def measured(device: str, row: str) -> float:
    """The logs of OptimizerMonitor and Sharpness against the same on the CPU; 12 steps."""
    histories = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        watching = OptimizerMonitor(1, layers=True), Sharpness(3, tol=1e-8)
        with tempfile.TemporaryDirectory() as folder:
            dropped(place, row, folder, *watching, rate=0.0, precision="64-true", max_steps=12)
        histories.append(watching[0].history | watching[1].history)
    ours, theirs = histories
    assert ours.keys() == theirs.keys()
    assert "train/actual_decrease" in ours
    assert [step for step, _ in ours["train/velocity"]] == list(range(12))
    return max(
        gap([torch.tensor(ours[tag])], [torch.tensor(theirs[tag])])
        for tag in ours
        if tag != "train/sharpness_error"  # a rounding
    )


def watched(device: str, row: str) -> float:
    """The training is the same to the last bit with the callbacks and without, dropout and all."""
    ends = []
    for callbacks in ((), (OptimizerMonitor(1), Sharpness(5))):
        seed_everything(0, verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            module = dropped(device, row, folder, *callbacks, max_steps=20)
        ends.append(list(module.parameters()))
    return gap(*ends)


class Poison(Callback):
    """Puts a NaN into the batch of step 5."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 5:
            batch[0][0] = math.nan


def bad_batch(device: str, row: str) -> float:
    """Steps beyond that which ends the run, on a GPU one step late; 100 if the data are unnamed."""
    monitor, message = OptimizerMonitor(5), ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            dropped(device, row, folder, Poison(), monitor, max_steps=20)
        except Diverged as error:
            message = str(error)
    named = message.startswith(
        "diverged at step 5, counted from 0: train/loss is nan, and so is a value of its"
    )
    return abs(monitor.evaluations - (6 if device == "cpu" else 7)) + (0 if named else 100)


# Newton

NEWTONS: dict[str, dict[str, Any]] = {
    "dense": {"damping": 1.0},
    "saddle_free": {"damping": 0.1, "solver": "saddle_free"},
    "line_search": {"damping": 1.0, "line_search": True},
    "cg": {"damping": 1.0, "solver": "cg", "cg_iters": 200, "cg_tol": 1e-13},
    "gauss_newton": {"damping": 0.1, "curvature": "gauss_newton"},
    "gauss_newton, cg, adapt_damping": {
        "damping": 1.0,
        "curvature": "gauss_newton",
        "solver": "cg",
        "adapt_damping": True,
        "cg_iters": 200,
        "cg_tol": 1e-13,
    },
}


def newton(device: str, name: str) -> float:
    ends = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double().to(place)
        inputs = torch.randn(40, 3, dtype=torch.float64).to(place)
        labels = (torch.arange(40) % 4).to(place)
        optimizer = Newton(net.parameters(), **NEWTONS[name])

        def closure(net: Any = net, optimizer: Any = optimizer, data: Any = (inputs, labels)):
            optimizer.zero_grad()
            outputs = net(data[0])
            loss = nn.functional.cross_entropy(outputs, data[1])
            optimizer.backward(loss, outputs)
            return loss

        for _ in range(5):
            optimizer.step(closure)
        ends.append(list(net.parameters()))
    return gap(ends[1], ends[0])


def tried(device: str, what: str) -> float:
    """A trial draws the masks that the closure drew, and the numbers to come stay as they were."""
    torch.manual_seed(0)
    x = torch.ones(1000, device=device, requires_grad=True)
    trials = Trials()
    first = nn.functional.dropout(x).sum().item()
    state = torch.cuda.get_rng_state() if device != "cpu" else torch.get_rng_state()
    again = trials(lambda: nn.functional.dropout(x).sum().item(), [x])
    after = torch.cuda.get_rng_state() if device != "cpu" else torch.get_rng_state()
    return abs(again - first) if torch.equal(state, after) else math.inf


# scripts/train.py, a process each

SHORT = "max_steps=20", "monitor_every=1", "test=false", "figures=false"
LONG = "max_steps=60", *SHORT[1:]
PRECISIONS = "32-true", "16-mixed", "bf16-mixed"
TOY = "sgd", "momentum", "nag", "nag_torch"
ARTICLE = "task=toy", "task.start=-8", "optimizer.lr=1.0", "figures=false"
DOUBLES = "accelerator.precision=64-true"
WHOLE = "optimizer=adam", "optimizer.fused=true", "max_epochs=1", "sharpness_every=100"
WHOLE += "monitor_layers=true", "record_every=100"


def commands(device: str) -> dict[str, list[tuple[str, ...]]]:
    """The arguments that a run is started with, and resumed with, by its name."""
    on = "accelerator=cpu" if device == "cpu" else "accelerator=gpu"
    several = f"accelerator.accelerator={device}", "accelerator.devices=1"
    found: dict[str, list[tuple[str, ...]]] = {"whole": [(*WHOLE, on)]}
    for name in OPTIMIZERS:
        chosen = (f"optimizer={name}", *SHORT)
        found[name] = [(*chosen, on)]
        found[f"{name}, float64"] = [(*chosen, on, DOUBLES)]
        found[f"{name}, float64, cpu"] = [(*chosen, "accelerator=cpu", DOUBLES)]
        found[f"{name}, resumed"] = [(*chosen, on, "max_steps=11"), ("max_steps=20",)]
        for precision in PRECISIONS:
            if precision != "16-mixed" or (device != "cpu" and name != "newton"):  # it tries steps
                found[f"{name}, {precision}"] = [
                    (f"optimizer={name}", *LONG, on, f"accelerator.precision={precision}")
                ]
        for strategy in ("ddp", "fsdp") if name != "newton" else ("ddp",):
            found[f"{name}, {strategy}"] = [(*chosen, f"accelerator={strategy}", *several)]
    for name in TOY:
        momentum = () if name == "sgd" else ("optimizer.momentum=0.9",)
        toy = (*ARTICLE, f"optimizer={name}", DOUBLES, *momentum)
        found[f"{name}, article"] = [(*toy, on)]
        found[f"{name}, article, cpu"] = [(*toy, "accelerator=cpu")]
    return found


@cache
def workshop() -> tuple[Path, ThreadPoolExecutor]:
    """The folder of the runs; it starts them, some at a time."""
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2))
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    atexit.register(pool.shutdown, cancel_futures=True)
    return Path(directory.name), pool


def train(name: str, parts: list[tuple[str, ...]]) -> Path:
    """The directory of a run, at its end."""
    folder, _ = workshop()
    run = folder / name.replace(", ", "_")
    for part in parts:
        given = (*part, f"hydra.run.dir={run}") if part is parts[0] else (f"resume={run}", *part)
        unique = {override.partition("=")[0]: override for override in given}
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / "train.py"), *unique.values()],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(given)}: {done.stderr.strip()}")
        with (run / "stderr").open("a") as file:
            file.write(done.stderr)
    return run


STARTED: dict[str, Future[Path]] = {}


def run_of(device: str, name: str) -> Path:
    """The directory of a run, at its end; all runs of its kind start together."""
    if name not in STARTED:
        kind = name.partition(", ")[2]
        for other, parts in commands(device).items():
            if other.partition(", ")[2] == kind:
                STARTED[other] = workshop()[1].submit(train, other, parts)
    return STARTED[name].result()


def losses(device: str, name: str) -> list[float]:
    """The loss of each step."""
    callbacks = last_checkpoint(run_of(device, name))["callbacks"]
    [monitor] = [state for key, state in callbacks.items() if "OptimizerMonitor" in key]
    return monitor["values"]["train/loss"].tolist()


def like_the_cpus_run(device: str, name: str) -> float:
    """The largest relative difference of the losses of a step."""
    ours, theirs = losses(device, f"{name}, float64"), losses(device, f"{name}, float64, cpu")
    assert len(ours) == 20
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def like_float32(precision: str, device: str, name: str) -> float:
    """The relative difference of the mean losses of the last 20 steps of 60."""
    ours, theirs = (mean(losses(device, f"{name}, {p}")[-20:]) for p in (precision, "32-true"))
    return abs(ours - theirs) / theirs


def like_the_plain_run(device: str, name: str) -> float:
    """How many parameters of a run are not, to the last bit, those of the optimizer's plain run."""
    plain = name.partition(", ")[0]
    ends = [last_checkpoint(run_of(device, run))["state_dict"] for run in (name, plain)]
    return float(len(differences(ends[0], ends[1])))


def resumed_run(device: str, name: str) -> float:
    ends = [last_checkpoint(run_of(device, run)) for run in (f"{name}, resumed", name)]
    found = differences(ends[0], ends[1])
    return float(len([where for where in found if "/seconds: " not in where]))


def article(device: str, name: str) -> float:
    """The evaluations that are more or fewer than on the CPU."""
    directories = [run_of(device, f"{name}, {run}") for run in ("article", "article, cpu")]
    ours, theirs = (json.loads((d / "result.json").read_text()) for d in directories)
    return abs(ours["evaluations"] - theirs["evaluations"])


def silent(device: str, name: str) -> float:
    """The characters on standard error, of all runs so far and a plain one."""
    run_of(device, "nag")
    said = {run: (future.result() / "stderr").read_text() for run, future in STARTED.items()}
    for run, text in said.items():
        print(f"{run}: {text}" if text else "", end="", file=sys.stderr)
    return float(sum(map(len, said.values())))


def whole_run(device: str, name: str) -> float:
    """The test's errors, in a run with all callbacks, pictures and a compiled rule."""
    run = run_of(device, name)
    assert len(list((run / "figures").glob("*.png"))) > 3
    callbacks = last_checkpoint(run)["callbacks"]
    [sharpness] = [state for key, state in callbacks.items() if "Sharpness" in key]
    assert len(sharpness["values"]["train/sharpness"]) == 5  # 430 steps
    return 1 - json.loads((run / "result.json").read_text())["metrics"]["test/accuracy"]


ROWS = list(CASES)
CHECKS = {
    "steps, float64, to the CPU's": Check(
        partial(like_the_cpu, (torch.float64, torch.complex128)), ROWS, DOUBLE
    ),
    "steps, float32, to the CPU's": Check(
        partial(like_the_cpu, (torch.float32, torch.complex64)), ROWS, SINGLE
    ),
    "steps, list, loop and default": Check(drivers_agree, WITH_RULE, 0.0),
    "steps, torch's foreach": Check(
        partial(like_torch, {"foreach": True}, {"foreach": True}),
        [row for row in WITH_TWIN if row not in ADAMS and "list" in CASES[row].drivers],
        0.0,
    ),
    "steps, torch's foreach of Adam": Check(
        partial(like_torch, {"foreach": True}, {"foreach": True}),
        ADAMS,
        DOUBLE,  # it divides by √(1 − β₂ᵗ) in another kernel
    ),
    "steps, torch's loop": Check(
        partial(like_torch, {"foreach": False}, {"foreach": False}), WITH_TWIN, DOUBLE
    ),
    "steps, torch's fused": Check(
        partial(like_torch, {"fused": True}, {"fused": True}), FUSED, DOUBLE
    ),
    "steps, bf16, compensated": Check(compensated, WITH_RULE, 0.05),
    "steps, lr a tensor there": Check(tensor_lr, ROWS, 0.0),
    "state, from the CPU and back": Check(state_moves, ROWS, DOUBLE),
    "state, from torch and to it": Check(
        changes_hands, [*PAIRS, *(f"{pair}, fused" for pair in FUSED)], DOUBLE
    ),
    "state, from and to capturable": Check(
        changes_hands,
        [f"{pair}, capturable" for pair in PAIRS if pair in CAPTURABLE],
        SINGLE,  # of 1 − βᵗ, as t is float32
    ),
    "graph, capturable": Check(partial(graphed, {"capturable": True}, False), CAPTURABLE, 0.0),
    "graph, torch's capturable": Check(graphed_like_torch, CAPTURABLE, SINGLE),
    "graph, an lr that changes": Check(
        partial(graphed, {"capturable": True}, True), CAPTURABLE, 0.0
    ),
    "graph, rules without a count": Check(partial(graphed, {}, False), UNTIMED, 0.0),
    "graph, rules without, compiled": Check(partial(graphed, {"fused": True}, False), UNTIMED, 0.0),
    "graph, refused otherwise": Check(refused_in_a_graph, ["adagrad", "adam", "adamw"], 0.0),
    "Newton, to the CPU's": Check(newton, NEWTONS, 1e-9),
    "Newton, dropout in a trial": Check(tried, ["Trials"], 0.0),
    "NAG, the article's function": Check(trap, ["plain", "a scaler"], 1e-13),
    "resume, with dropout": Check(resumed, [*ROWS, "nag, without RandomState"], 0.0),
    "resume, from the CPU's": Check(resumed_elsewhere, ROWS, 1e-9),
    "measured, to the CPU's": Check(
        measured,
        ["sgd", "nag", "adam", "rmsprop", "newton_cg"],
        1e-5,  # degrees of an angle of 0
    ),
    "measured, and not disturbed": Check(watched, ["sgd", "nag", "adam", "newton_cg"], 0.0),
    "measured, a bad batch ends a run": Check(bad_batch, ["sgd", "nag", "adam"], 0.0),
    **{
        f"Trainer, {column}": Check(partial(cell, column), semantics.METHODS, 1.0)
        for column in semantics.COLUMNS
        if not column.startswith(("16-mixed", "GradScaler", "DDP", "FSDP2"))
    },
    "Trainer, 16-mixed": Check(partial(scaled, False), semantics.METHODS, 1.0),
    "Trainer, 16-mixed and more": Check(partial(scaled, True), semantics.METHODS, 1.0),
    "processes, one under DDP": Check(partial(one_process, "ddp"), semantics.METHODS, 1.0),
    "processes, one under FSDP2": Check(partial(one_process, "fsdp2"), semantics.METHODS, 1.0),
    "train.py, float64, to the CPU's": Check(like_the_cpus_run, OPTIMIZERS, 1e-6),
    "train.py, 16-mixed": Check(
        partial(like_float32, "16-mixed"), [name for name in OPTIMIZERS if name != "newton"], 0.1
    ),
    "train.py, bf16-mixed": Check(partial(like_float32, "bf16-mixed"), OPTIMIZERS, 0.1),
    "train.py, ddp and fsdp": Check(
        like_the_plain_run,
        [f"{name}, ddp" for name in OPTIMIZERS]
        + [f"{name}, fsdp" for name in OPTIMIZERS if name != "newton"],
        0.0,
    ),
    "train.py, resumed": Check(resumed_run, OPTIMIZERS, 0.0),
    "train.py, the article": Check(article, TOY, 0.0),
    "train.py, a whole run": Check(whole_run, ["whole"], 0.05),
    "train.py, warns of nothing": Check(silent, ["all"], 0.0),
}


def run(device: str, names: Iterable[str] = CHECKS) -> int:
    """Makes checks, prints a line for each, and returns how many failed."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    failed = 0
    print(f"{'':34}{'cases':>6}{'gap':>10}{'bound':>10}{'s':>7}  where the gap is")
    for name in names:
        check, gaps, wrong, began = CHECKS[name], {}, [], time.monotonic()
        for case in check.cases:
            try:
                gaps[case] = check.gap(device, case)
                if not gaps[case] <= check.bound:
                    wrong.append(f"{case}: {gaps[case]:.3g}")
            except Exception as error:
                traceback.print_exc()
                wrong.append(f"{case}: {type(error).__name__}: {' '.join(str(error).split())}")
        where = max(gaps, key=lambda case: gaps[case], default="")
        worst = f"{gaps[where]:.2g}" if gaps else ""
        where = "WRONG" if wrong else where if gaps and gaps[where] else ""
        seconds = time.monotonic() - began
        row = f"{name:34}{len(list(check.cases)):>6}{worst:>10}{check.bound:>10.2g}{seconds:>7.0f}"
        print(f"{row}  {where}".rstrip(), *wrong, sep="\n    ", flush=True)
        failed += bool(wrong)
    return failed


def main() -> None:
    """Makes the checks whose names begin as the arguments say; all, if there are none."""
    parser = Parser(__doc__)
    parser.add_argument("beginnings", nargs="*", help="of the names of checks; by default all")
    beginnings = tuple(parser.parse_args().beginnings) or ("",)
    if not torch.cuda.is_available():
        sys.exit(f"gpu.py: torch {torch.__version__} finds no GPU here")
    names = [name for name in CHECKS if name.startswith(beginnings)]
    if not names:
        sys.exit(f"gpu.py: no check begins with {' or '.join(beginnings)}: {', '.join(CHECKS)}")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    failed = run("cuda", names)
    print(f"{len(names) - failed} checks right, {failed} wrong")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
