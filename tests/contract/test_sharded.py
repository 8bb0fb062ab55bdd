"""Rules of every shape on parameters that two processes share (DTensor, as FSDP2 has them).

Whole tensors are to the last bit those of one process: each process gathers a parameter, runs the
rule, and writes its part back.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import Module, Parameter
from torch.utils.data import DataLoader, TensorDataset

import scratchopt
from scratchopt.engine.shapes import SHAPES
from scratchopt.lightning import Checkpoint
from tests.contract.test_global_sums import Estimated
from tests.contract.test_shapes import ByNorm, Orthogonal, same
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

MAKERS: dict[str, Callable[..., scratchopt.Optimizer]] = {
    "tensor": lambda ps, **o: ByNorm(ps, weight_decay=0.25, **o),
    "matrix": lambda ps, **o: Orthogonal([p for p in ps if p.dim() > 1], **o),
    "global": lambda ps, **o: Estimated(ps, lr=8.0, weight_decay=0.25, **o),  # it grows at once
}
OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "compensated": {"compensated": True},
    "fused": {"fused": True},
}
ROWS = [(s, o) for s in MAKERS for o in OPTIONS if o not in SHAPES[s].refused]
SIZES = ((5, 3), (1, 4), (7,), (2, 3, 4))  # uneven shards, and an empty one


def whole(tensor: Tensor) -> Tensor:
    return getattr(tensor, "full_tensor", lambda: tensor)()


def gradients(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator) for size in SIZES]


def all_close(ours: Any, theirs: Any) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(torch.allclose(a.to(b.dtype), b, rtol=1e-6, atol=1e-6) for a, b in pairs)


def take_steps(optimizer: Any, ps: list[Any], first: int, last: int) -> None:
    for step in range(first, last):
        for p, g in zip(ps, gradients(step), strict=True):
            p.grad = _like(p, g)
        optimizer.step()


def _like(p: Any, g: Tensor) -> Tensor:
    """A gradient that lies as its parameter does."""
    if not hasattr(p, "device_mesh"):
        return g
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(g, p.device_mesh, p.placements)


def state_of(optimizer: Any, ps: list[Any]) -> list[Tensor]:
    return [whole(t) for p in ps for t in optimizer.state.get(p, {}).values()]


class Given(LightningModule):
    """Its gradients are given, so that every way to train it has the same ones."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.automatic_optimization, self.shape = False, shape
        self.net = Module()
        for i, g in enumerate(gradients(0)):
            self.net.register_parameter(f"p{i}", Parameter(g))

    def configure_optimizers(self) -> Any:
        return MAKERS[self.shape](list(self.net.parameters()))

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.zeros(1)))  # an epoch a step

    def training_step(self, batch: Any) -> None:
        optimizer: Any = self.optimizers()
        step = self.current_epoch + 1
        take_steps(optimizer, list(self.net.parameters()), step, step + 1)


def train(shape: str, folder: Path, steps: int, resumed: Any = None, **options: Any) -> list[Any]:
    """The parameters and the state after some steps, and where they were saved."""
    module, checkpoint = Given(shape), Checkpoint(steps=1)
    options = {"default_root_dir": folder, "max_epochs": steps, **options}
    trainer = quiet_trainer([checkpoint], **options)
    trainer.fit(module, ckpt_path=resumed, weights_only=True)
    ps: list[Any] = list(module.net.parameters())
    state = state_of(trainer.optimizers[0], ps)
    return [whole(p.detach()) for p in ps] + state


TWO = {"strategy": "fsdp2", "devices": 2, "use_distributed_sampler": False}
SAVED = "checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def came(tmp_path_factory) -> list[dict[str, Any]]:
    """What two processes came to."""
    folder = tmp_path_factory.mktemp("two")
    run_by_two(__name__, "compare", folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two processes were trained, and one before, whose checkpoints they took."""
    folder = tmp_path_factory.mktemp("trained")
    for shape in MAKERS:
        train(shape, folder / shape / "one", 2)
    run_by_two(__name__, "train", folder)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .train_dataloader. does not have many workers")
@pytest.mark.parametrize("shape", MAKERS)
def test_a_checkpoint_of_two_processes_is_one_s_and_the_other_way(shape, folder, tmp_path):
    never_stopped = train(shape, tmp_path, 4)
    saved = torch.load(folder / shape / "two" / SAVED, weights_only=True)
    assert saved["run"]["module"].endswith(".Given")  # and not the class that FSDP2 makes of it
    by_one = train(shape, tmp_path, 4, folder / shape / "two" / SAVED)
    agree = all_close if shape == "global" else same
    assert agree(by_one, never_stopped)
    for start in ("one", "two"):
        for rank in (0, 1):
            by_two = torch.load(folder / f"{shape} from {start}, {rank}.pt", weights_only=True)
            assert agree(by_two, never_stopped)


@pytest.mark.parametrize(("shape", "options"), ROWS)
def test_sharded_parameters_are_updated_as_by_one_process(shape, options, came):
    """Of whole tensors to the last bit; sums over processes are added in another order."""
    for of_rank in came:
        assert of_rank[f"{shape} {options}"] == {
            "parameters": True,
            "state": True,
            "sharded": True,
        }


def compare(shape: str, options: dict[str, Any]) -> dict[str, bool]:
    """What two processes and one come to."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    plain = [Parameter(g) for g in gradients(0)]
    sharded: list[Any] = [Parameter(distribute_tensor(p.detach(), mesh, [Shard(0)])) for p in plain]
    ours, alone = MAKERS[shape](sharded, **options), MAKERS[shape](plain, **options)
    take_steps(ours, sharded, 1, 5)
    take_steps(alone, plain, 1, 5)
    agree = all_close if shape == "global" else same
    return {
        "parameters": agree([whole(p.detach()) for p in sharded], plain),
        "state": agree(state_of(ours, sharded), state_of(alone, plain)),
        "sharded": all(p.to_local().shape[0] < max(2, p.shape[0]) for p in sharded),
    }


def _compare_all(folder: Path, rank: int) -> None:
    found = {f"{shape} {name}": compare(shape, OPTIONS[name]) for shape, name in ROWS}
    Path(folder, f"{rank}.json").write_text(json.dumps(found))


def _train_all(folder: Path, rank: int) -> None:
    for shape in MAKERS:
        train(shape, folder / shape / "two", 2, **TWO)
        for start in ("one", "two"):
            resumed = folder / shape / start / SAVED
            end = train(shape, folder / f"{shape} from {start}", 4, resumed, **TWO)
            torch.save(end, folder / f"{shape} from {start}, {rank}.pt")


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    work = {"compare": _compare_all, "train": _train_all}[sys.argv[1]]
    work(Path(sys.argv[2]), torch.distributed.get_rank())
    torch.distributed.destroy_process_group()
