"""Activation checkpointing: less is kept between forward and backward, and no number is another.

Two processes compare a training with and without it, under each strategy.
"""

import copy
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader, TensorDataset

import scratchopt
from scratchopt.config.accelerator import resolve_accelerator
from scratchopt.lightning import (
    ActivationCheckpointing,
    LiveLoss,
    Lookahead,
    Sharpness,
    checkpoint_activations,
)
from scratchopt.runs.trainer import make_instruments, make_trainer
from tests.shared.configs import config
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

pytestmark = pytest.mark.filterwarnings("ignore:The .train_dataloader. does not have many workers")
NEWTON = partial(scratchopt.Newton, lr=1.0, damping=0.1, solver="cg")
METHODS: dict[str, Callable[..., Any]] = {
    "nag": partial(scratchopt.NAG, lr=0.1, momentum=0.9),
    "adam": partial(scratchopt.Adam, lr=0.01),
    "newton": NEWTON,
    "newton gauss_newton": partial(NEWTON, curvature="gauss_newton"),
}


class Block(nn.Module):
    """It draws random numbers, and changes buffers: of a batch's statistics, and of vectors."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.out = nn.Linear(6, 12), spectral_norm(nn.Linear(12, 6))
        self.norm, self.drop = nn.BatchNorm1d(12), nn.Dropout(0.3)
        self.register_buffer("mask", torch.ones(6))

    def forward(self, x: Tensor, *, scale: float) -> Tensor:
        made = torch.full((), scale)  # of the default dtype
        assert self.out.weight.dtype == made.dtype
        return x + made * self.mask * self.out(self.drop(torch.tanh(self.norm(self.inward(x)))))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inward, self.out = nn.Linear(4, 6), nn.Linear(6, 2)
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inward(x)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return self.out(x)


class Module(LightningModule):
    def __init__(self, method: str, net: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.method = net or Net(), method

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any) -> Tensor:
        return self(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return METHODS[self.method](list(self.parameters()))

    def train_dataloader(self) -> Any:
        inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(inputs.to(next(self.parameters()).dtype)), batch_size=8)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(map(torch.equal, ours.values(), theirs.values()))


def train(method: str, is_checkpointed: bool, *callbacks: Any, **options: Any) -> dict[str, Tensor]:
    """The module's state after a few steps, and that of torch's random numbers."""
    module = Module(method)
    before = {name: vars(part).keys() for name, part in module.named_modules()}
    ours = [ActivationCheckpointing()] if is_checkpointed else []
    trainer = quiet_trainer([Lookahead(), LiveLoss(), *ours, *callbacks], max_epochs=1, **options)
    torch.manual_seed(trainer.global_rank)
    trainer.fit(module)
    if trainer.world_size == 1:
        assert all("forward" not in vars(part) for part in module.net.modules())
        assert before.keys() == {name for name, _ in module.named_modules()}
    state = {name: _whole(value) for name, value in module.state_dict().items()}
    return state | {"random": torch.get_rng_state()}


def _whole(tensor: Tensor) -> Tensor:
    return getattr(tensor, "full_tensor", lambda: tensor)().detach().clone()


@pytest.mark.parametrize("method", METHODS)
def test_training_is_the_same_to_the_last_bit(method):
    options = {"limit_train_batches": 2 if "newton" in method else 8}
    assert same(train(method, True, **options), train(method, False, **options))


def test_training_is_the_same_with_all_that_a_trainer_does():
    options = {"precision": "bf16-true", "accumulate_grad_batches": 2, "gradient_clip_val": 0.1}
    assert same(train("nag", True, **options), train("nag", False, **options))
    measured = [Sharpness(2, iterations=3, tol=1.0) for _ in range(2)]
    for is_checkpointed in (True, False):
        train("nag", is_checkpointed, measured[is_checkpointed], limit_train_batches=3)
    assert measured[0].history == measured[1].history
    assert measured[0].history["train/sharpness"]


def test_between_forward_and_backward_blocks_keep_their_inputs_alone():
    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    kept: list[tuple[int, ...]] = []
    net = nn.Sequential(
        *(nn.Sequential(nn.Linear(8, 99), nn.Tanh(), nn.Linear(99, 8)) for _ in "ab")
    )
    inputs = torch.randn(16, 8)
    with torch.autograd.graph.saved_tensors_hooks(keep, keep):
        net(inputs)
        assert (16, 99) in kept
        kept.clear()
        undo = checkpoint_activations(net)
        outputs = net(inputs)
        assert {shape for shape in kept if 0 not in shape} == {(16, 8)}
        outputs.sum().backward()
    undo()


def test_a_graph_is_gone_through_again_and_again():
    net, inputs = Net(), torch.randn(8, 4)
    undo = checkpoint_activations(net)
    loss = net(inputs).square().mean()
    first, second = (
        torch.autograd.grad(loss, list(net.parameters()), retain_graph=True) for _ in range(2)
    )
    assert all(map(torch.equal, first, second))
    assert net.state_dict()["blocks.0.norm.num_batches_tracked"] == 1
    undo()


def test_a_copy_computes_with_its_own_parameters():
    net, inputs = Net(), torch.randn(8, 4)
    undo = checkpoint_activations(net)
    other = copy.deepcopy(net)
    other(inputs).sum().backward()
    undo()
    assert all(p.grad is None for p in net.parameters())
    assert all(p.grad is not None for p in other.parameters())


def test_parameters_that_change_before_backward_are_refused():
    net = Net()
    undo = checkpoint_activations(net)
    loss = net(torch.randn(8, 4)).sum()
    with torch.no_grad():
        net.get_parameter("blocks.1.inward.bias").add_(1)
    with pytest.raises(RuntimeError, match=r"parameters of blocks\.1 were updated between"):
        loss.backward()
    undo()


def test_a_module_without_blocks_is_refused():
    with pytest.raises(RuntimeError, match=r"Linear has no blocks .* into an nn\.Sequential"):
        checkpoint_activations(nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning")
def test_a_compiled_module_is_refused():
    module: Any = torch.compile(Module("nag"))
    with pytest.raises(RuntimeError, match=r"torch\.compile decides itself"):
        quiet_trainer([ActivationCheckpointing()], max_epochs=1).fit(module)


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_run_has_it_by_its_key(is_asked, tmp_path):
    asked = config("task=transformer", f"activation_checkpointing={is_asked}")
    asked["accelerator"] = resolve_accelerator(asked["accelerator"])
    trainer: Any = make_trainer(asked, tmp_path, make_instruments(asked, tmp_path))
    found = [type(callback) for callback in trainer.callbacks]
    assert (ActivationCheckpointing in found) == is_asked


STRATEGIES = ("ddp", "zero1", "zero2", "zero3", "fsdp2")


@pytest.mark.slow
def test_two_processes_come_to_the_same_with_and_without(tmp_path):
    run_by_two(__name__, tmp_path)
    for rank in (0, 1):
        came = json.loads((tmp_path / f"{rank}.json").read_text())
        assert came == dict.fromkeys(
            (f"{s} {m}" for s in STRATEGIES for m in ("nag", "adam")), True
        )


def _compare_all(folder: Path, rank: int) -> None:
    came = {}
    for strategy in STRATEGIES:
        for method in ("nag", "adam"):
            options: dict[str, Any] = {"strategy": strategy, "devices": 2}
            options |= {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}
            pair = [train(method, flag, **options) for flag in (True, False)]
            came[f"{strategy} {method}"] = same(*pair)
    Path(folder, f"{rank}.json").write_text(json.dumps(came))


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    _compare_all(Path(sys.argv[1]), torch.distributed.get_rank())
    torch.distributed.destroy_process_group()
