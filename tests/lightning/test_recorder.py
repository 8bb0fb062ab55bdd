"""The records of a run are its path: a plain loop's, and the same where it was killed."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor
from torch.utils.data import DataLoader

from scratchopt import NAG, SGD, Momentum
from scratchopt.batches import Batches, Endless
from scratchopt.lightning import (
    Checkpoint,
    Convergence,
    Diverged,
    Lookahead,
    OptimizerMonitor,
    RandomState,
    Recorder,
    read_records,
)
from tests.shared import commands
from tests.shared.full_disk import full_disk
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
CURVATURES = torch.tensor([1.0, 3.0, 7.0, 2.0], dtype=torch.float64)
START = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
LR, MU = 0.05, 0.9


class Bowl(LightningModule):
    """f(θ) = Σ cᵢ(θᵢ − t)²/2 of a scalar and a triple, with a target t from each batch."""

    def __init__(self, configure: Callable[..., Any], targets: list[float]) -> None:
        super().__init__()
        self.first = torch.nn.Parameter(START[0].clone())
        self.frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
        self.rest = torch.nn.Parameter(START[1:].clone())
        self.configure, self.targets = configure, targets

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        theta = torch.cat([self.first.reshape(1), self.rest])
        return (CURVATURES * (theta - batch[0]) ** 2).sum() / 2

    def configure_optimizers(self) -> Any:
        return self.configure([p for p in self.parameters() if p.requires_grad])

    def train_dataloader(self) -> Any:
        targets = torch.tensor(self.targets, dtype=torch.float64)
        return Batches([targets], 1, shuffle=False, seed=0)


def fit(module: LightningModule, folder: Path, *more: Callback, **options: Any) -> Trainer:
    last = folder / "checkpoints" / "last.ckpt"
    checkpoint = options.pop("ckpt_path", last if last.exists() else None)
    weights = {"ckpt_path": checkpoint, "weights_only": True} if checkpoint else {}
    every = options.pop("every", None)
    settings: dict[str, Any] = {"max_epochs": 1} | options
    trainer = quiet_trainer(
        [Lookahead(), OptimizerMonitor(), Recorder(every), RandomState(), *more],
        default_root_dir=folder,
        use_distributed_sampler=False,
        **settings,
    )
    trainer.fit(module, **weights)
    return trainer


def records(folder: Path) -> np.ndarray:
    return read_records(folder / "path")[1]


def by_hand(rule: str, targets: list[float], accumulated: int = 1) -> list[tuple[Tensor, ...]]:
    """(θ, evaluated point, gradient there) of each update, and the last θ."""
    theta, v, rows = START.clone(), torch.zeros(4, dtype=torch.float64), []
    for i in range(0, len(targets), accumulated):
        point = theta + MU * v if rule == "nag" else theta
        g = torch.stack(
            [CURVATURES * (point - target) for target in targets[i : i + accumulated]]
        ).mean(0)
        rows.append((theta, point, g))
        v = (0 if rule == "sgd" else MU) * v - LR * g
        theta = theta + v
    return [*rows, (theta,)]


RULES: dict[str, Callable[..., Any]] = {
    "sgd": lambda params: SGD(params, lr=LR),
    "momentum": lambda params: Momentum(params, lr=LR, momentum=MU),
    "nag": lambda params: NAG(params, lr=LR, momentum=MU),
    "torch": lambda params: torch.optim.SGD(params, lr=LR, momentum=MU),
}


@pytest.mark.parametrize("accumulated", [1, 3])
@pytest.mark.parametrize("rule", RULES)
def test_records_are_those_of_a_loop_by_hand(rule, accumulated, tmp_path):
    """Clipping, which comes after the gradient is recorded, would show; so would θ for θ + μv."""
    targets = [0.0, 1.0, -0.5, 0.25, 2.0, -1.0] * 20
    fit(Bowl(RULES[rule], targets), tmp_path, accumulate_grad_batches=accumulated)
    layout, found = read_records(tmp_path / "path")
    assert layout.names == ["first", "rest"]
    assert layout.shapes == [[], [3]]
    assert found["step"].tolist() == list(range(120 // accumulated + 1))
    *steps, (last,) = by_hand("momentum" if rule == "torch" else rule, targets, accumulated)
    for record, expected in zip(found, steps, strict=False):
        for name, vector in zip(("parameters", "point", "gradient"), expected, strict=True):
            np.testing.assert_allclose(record[name], vector, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[-1]["parameters"], last, rtol=1e-12)
    assert np.isnan(found[-1]["point"]).all()
    assert np.isnan(found[-1]["gradient"]).all()


def test_the_gradient_is_recorded_before_clipping(tmp_path):
    fit(Bowl(RULES["sgd"], [0.0]), tmp_path, gradient_clip_val=0.1)
    np.testing.assert_array_equal(records(tmp_path)[0]["gradient"], CURVATURES * START)


def test_the_evaluation_that_converges_is_the_last_record(tmp_path):
    """It has a gradient, and no update follows. A resume with nothing left adds nothing."""
    near = Convergence(1e-3, lambda module: module.rest.abs().max())  # pyright: ignore
    module = Bowl(RULES["momentum"], [0.0] * 500)
    trainer = fit(module, tmp_path, near, Checkpoint())
    assert near.converged
    found = records(tmp_path)
    assert found["step"][-1] == trainer.global_step
    assert np.isfinite(found["gradient"]).all()
    before = (tmp_path / "path" / "records.bin").read_bytes()
    again = Convergence(1e-3, lambda module: module.rest.abs().max())  # pyright: ignore
    fit(Bowl(RULES["momentum"], [0.0] * 500), tmp_path, again, Checkpoint())
    assert (tmp_path / "path" / "records.bin").read_bytes() == before


def test_a_run_that_diverges_is_recorded_up_to_there(tmp_path):
    module = Bowl(lambda params: SGD(params, lr=1e9), [0.0] * 100)
    with pytest.raises(Diverged):
        fit(module, tmp_path)
    found = records(tmp_path)
    assert len(found) == 17  # 7e9 times larger each step, at 16 its square is beyond float64
    assert np.isfinite(found["parameters"]).all()
    assert found["parameters"][1].tolist() == (START - 1e9 * CURVATURES * START).tolist()


# Large models, other modules, other types


def test_of_large_models_nothing_is_recorded_unless_asked_for(tmp_path):
    class Wide(BoringModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(32, 4)  # 132 numbers

    fit(Wide(), tmp_path)
    assert not (tmp_path / "path").exists()
    module = Wide()
    fit(module, tmp_path, every=30)
    layout, found = read_records(tmp_path / "path")
    assert found.dtype.names == ("step", "parameters")
    assert (layout.size, layout.dtype) == (132, "float32")
    assert found["step"].tolist() == [0, 30, 60, 64]
    final = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    assert torch.equal(torch.tensor(found["parameters"][-1]), final)


def test_the_boring_model_is_recorded_as_a_loop_of_one_s_own_has_it(tmp_path):
    seed_everything(0, verbose=False)
    module, by_hand = BoringModel(), BoringModel()
    by_hand.load_state_dict(module.state_dict())
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.01)
    module.configure_optimizers = lambda: torch.optim.AdamW(module.parameters(), lr=0.01)  # pyright: ignore
    data = torch.randn(70, 1, 32)
    module.train_dataloader = lambda: DataLoader(data, batch_size=None)  # pyright: ignore
    fit(module, tmp_path, every=1)
    for record, batch in zip(records(tmp_path)[:-1], data, strict=True):
        before = torch.nn.utils.parameters_to_vector(by_hand.parameters()).detach().numpy().copy()
        optimizer.zero_grad()
        by_hand.training_step(batch, 0)["loss"].backward()  # pyright: ignore
        grads = torch.cat([p.grad.reshape(-1) for p in by_hand.parameters()])  # pyright: ignore
        np.testing.assert_array_equal(record["parameters"], before)
        np.testing.assert_array_equal(record["gradient"], grads)
        optimizer.step()


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("bf16-true", "float32"), ("16-true", "float16"), ("64-true", "float64")],
)
def test_records_have_the_parameters_type_and_bf16_as_float32(precision, dtype, tmp_path):
    class One(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([1.0]))

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return (self.x**2).sum()

        def configure_optimizers(self) -> Any:
            return SGD(self.parameters(), lr=0.1)

        def train_dataloader(self) -> Any:
            return Endless(torch.empty(0))

    module = One()
    fit(module, tmp_path, precision=precision, max_epochs=-1, max_steps=3)
    layout, found = read_records(tmp_path / "path")
    assert layout.dtype == dtype
    assert found["parameters"][-1].item() == module.x.item()


def test_a_bad_interval_is_refused():
    with pytest.raises(ValueError, match=r"Invalid Recorder interval: 0 \(every >= 1, or None\)"):
        Recorder(0)


# Killed, resumed, damaged

TARGETS = [0.0, 1.0, -0.5, 0.25, 2.0, -1.0] * 30


def _checkpointed(folder: Path, *more: Callback, every: int | None = None, **options: Any) -> Any:
    module = Bowl(RULES["nag"], TARGETS)
    return fit(module, folder, Checkpoint(steps=7), *more, every=every, **options)


class Kill(Callback):
    """Kills the process, for good, after the update of a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("every", [None, 4])
def test_a_stop_and_a_resume_leave_the_records_of_a_whole_run(every, tmp_path):
    _checkpointed(tmp_path / "whole", every=every)
    for steps in (1, 13, 100, 180):
        _checkpointed(tmp_path / "parts", every=every, max_steps=steps)
        if steps < 180:
            assert records(tmp_path / "parts")["step"][-1] == steps
    whole, parts = (tmp_path / name / "path" / "records.bin" for name in ("whole", "parts"))
    assert parts.read_bytes() == whole.read_bytes()


def test_killed_and_resumed_runs_leave_the_records_of_a_whole_run(tmp_path):
    """The kills are kill -9, with records in memory, some beyond the checkpoint, and a torn one."""
    done = commands.run_module(__name__, tmp_path)
    assert done.returncode == 0, done.stderr
    whole = (tmp_path / "whole" / "path" / "records.bin").read_bytes()
    assert len(whole) == 181 * (8 + 3 * 4 * 8)
    for at in (3, 55, 104):
        assert (tmp_path / str(at) / "path" / "records.bin").read_bytes() == whole


def _kills(folder: Path) -> None:
    """Makes each run in a fork of its own."""
    for name, at in (("whole", 0), *((str(at), at) for at in (3, 55, 104))):
        for kill in (at, 0) if at else (0,):
            child = os.fork()
            if not child:
                _checkpointed(folder / name, Kill(kill))
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status != (-signal.SIGKILL if kill else 0):
                sys.exit(f"{name}: {status}")
            if kill == 55:
                with open(folder / name / "path" / "records.bin", "ab") as file:
                    file.write(b"torn" * 9)


def test_a_full_disk_leaves_a_whole_checkpoint_and_the_run_goes_on_from_it(tmp_path):
    _checkpointed(tmp_path / "whole")
    path, last = tmp_path / "run" / "path", tmp_path / "run" / "checkpoints" / "last.ckpt"
    _checkpointed(tmp_path / "run", max_steps=50)
    before = last.read_bytes()
    with full_disk(len(before) // 2), pytest.raises((OSError, RuntimeError)):
        _checkpointed(tmp_path / "run")
    assert last.read_bytes() == before
    assert not list((tmp_path / "run").rglob("*.new"))
    _checkpointed(tmp_path / "run")
    whole = (tmp_path / "whole" / "path" / "records.bin").read_bytes()
    assert (path / "records.bin").read_bytes() == whole
    with full_disk(10), pytest.raises(OSError, match="File too large"):
        _checkpointed(tmp_path / "other", ckpt_path=None)
    assert not list((tmp_path / "other").rglob("*.new"))


def test_a_torn_tail_is_cut_by_the_reader(tmp_path):
    _checkpointed(tmp_path)
    whole = np.array(records(tmp_path))
    path = tmp_path / "path" / "records.bin"
    content = path.read_bytes()
    for tail in (content[:50], bytes(300)):  # half a record; blocks that were never written
        path.write_bytes(content + tail)
        np.testing.assert_array_equal(records(tmp_path)["step"], whole["step"])
    path.write_bytes(content[:-1])
    assert len(records(tmp_path)) == len(whole) - 1
    path.write_bytes(b"")
    assert len(records(tmp_path)) == 0


def test_damaged_or_foreign_records_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        records(tmp_path)
    _checkpointed(tmp_path, max_steps=10)
    layout = tmp_path / "path" / "layout.json"
    good = json.loads(layout.read_text())
    changes = [{"version": 2}, {"dtype": "x"}, {"dtype": "object"}, {"file": "../victim"}]
    changes += [{"file": str(tmp_path / "victim")}]
    (tmp_path / "victim").write_text("mine")
    for bad in ("{", "[]", *(json.dumps(good | change) for change in changes)):
        layout.write_text(bad)
        with pytest.raises(ValueError, match=r"layout\.json"):
            records(tmp_path)
        with pytest.raises(ValueError, match=r"layout\.json"):
            _checkpointed(tmp_path)
    assert (tmp_path / "victim").read_text() == "mine"
    layout.write_text(json.dumps(good | {"names": ["a", "b"]}))
    with pytest.raises(ValueError, match="of other parameters than this run's; move it away"):
        _checkpointed(tmp_path)
    layout.write_text(json.dumps(good))
    (tmp_path / "path" / "records.bin").write_bytes(b"\xff" * 1000)
    with pytest.raises(ValueError, match=r"records\.bin is damaged: its first record"):
        records(tmp_path)


def test_several_fits_in_a_folder_have_records_of_their_own(tmp_path):
    """As Lightning numbers its checkpoints; each fit goes on with its own."""
    for fold in range(3):
        _checkpointed(tmp_path, max_steps=5 + fold, ckpt_path=None)
    for fold, name in enumerate(["", "-v1", "-v2"]):
        found = read_records(tmp_path / f"path{name}")[1]
        assert found["step"].tolist() == list(range(6 + fold))
        saved = torch.load(tmp_path / "checkpoints" / f"last{name}.ckpt", weights_only=True)
        assert saved["global_step"] == 5 + fold
    _checkpointed(tmp_path, ckpt_path=tmp_path / "checkpoints" / "last-v1.ckpt")
    assert len(read_records(tmp_path / "path-v1")[1]) == len(TARGETS) + 1
    assert len(records(tmp_path)) == 6
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        *("last-v1.ckpt", "last-v2.ckpt", "last.ckpt")
    ]


def test_a_fast_dev_run_leaves_records_and_checkpoints_alone(tmp_path):
    _checkpointed(tmp_path, max_steps=5)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    _checkpointed(tmp_path, fast_dev_run=True, ckpt_path=None)
    _checkpointed(tmp_path, fast_dev_run=3)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_processes_record_what_one_does(tmp_path):
    """Sharded parameters are put together; the first process writes."""
    run_by_two(__name__, tmp_path)
    fit(Line(), tmp_path / "one")
    one = records(tmp_path / "one")
    assert len(one) == 13
    for strategy in ("ddp", "fsdp2"):
        two = records(tmp_path / strategy)
        assert two["step"].tolist() == one["step"].tolist()
        for name in ("parameters", "point", "gradient"):
            np.testing.assert_allclose(two[name], one[name], rtol=1e-12, atol=1e-13)


class Line(LightningModule):
    """A linear layer on noise, whose processes see halves of the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Linear(3, 3).double()
        self.data = torch.randn(48, 3, dtype=torch.float64), torch.randn(48, 3).double()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return NAG(self.parameters(), lr=LR, momentum=MU)

    def train_dataloader(self) -> Any:
        rank, size = self.trainer.global_rank, self.trainer.world_size
        return Batches(self.data, 4 // size, shuffle=True, seed=0, rank=rank, world_size=size)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        for name in ("ddp", "fsdp2"):
            fit(Line(), Path(sys.argv[1], name), strategy=name, devices=2)
    else:
        _kills(Path(sys.argv[1]))
