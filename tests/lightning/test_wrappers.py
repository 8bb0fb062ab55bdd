"""Optimizers behind the wrappers that Lightning and Fabric put around them."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningModule
from torch.nn import functional as F

from tests.shared.cases import CASES
from tests.shared.trainers import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(6, 8, 3, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.arange(48).view(6, 8) % 2


def make_model() -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2).double()


def parameters(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


class Loop:
    """A training loop of somebody's, by a bare optimizer or a wrapped one."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        self.model, self.optimizer, self.path = model, optimizer, [parameters(model)]

    def backward(self, i: int) -> torch.Tensor:
        loss = F.cross_entropy(self.model(INPUTS[i % 6]), LABELS[i % 6])
        if hasattr(self.optimizer, "add_curvature"):
            self.optimizer.backward(loss)
        else:
            loss.backward()
        return loss

    def step(self, *batches: int) -> None:
        self.optimizer.lookahead_()
        self.optimizer.zero_grad()
        for i in batches:
            self.backward(i)
        self.optimizer.step()
        self.path.append(parameters(self.model))

    def step_by_closure(self, i: int) -> None:
        def closure() -> torch.Tensor:
            self.optimizer.zero_grad()
            return self.backward(i)

        self.optimizer.step(closure)
        self.path.append(parameters(self.model))


def plain(loop: Loop) -> None:
    for i in range(6):
        loop.step(i)
        loop.step(i)  # two a batch


def closures(loop: Loop) -> None:
    for i in range(6):
        loop.step_by_closure(i)
        loop.step(i + 1)


def accumulated(loop: Loop) -> None:
    for i in range(6):
        loop.step(i, i + 1, i + 2)


def discarded(loop: Loop) -> None:
    """A loss is computed and not used."""
    for i in range(6):
        loop.optimizer.lookahead_()
        loop.backward(i + 1)
        loop.step(i)


def there_and_back(loop: Loop) -> None:
    for i in range(6):
        loop.optimizer.lookahead_()
        loop.optimizer.restore_()
        assert torch.equal(parameters(loop.model), loop.path[-1])
        loop.step(i)


def loaded(loop: Loop) -> None:
    """The state is saved, and loaded through the wrapper after some more steps."""
    loop.step(0)
    loop.step(1)
    saved, theta = copy.deepcopy(loop.optimizer.state_dict()), copy.deepcopy(loop.model)
    loop.step(2)
    loop.optimizer.load_state_dict(saved)
    loop.model.load_state_dict(theta.state_dict())
    loop.optimizer.param_groups[0]["lr"] *= 0.5
    loop.step(3)
    loop.step(4)


LOOPS = (plain, closures, accumulated, discarded, there_and_back, loaded)


def train_bare(row: str, run: Callable[[Loop], None]) -> list[torch.Tensor]:
    model = make_model()
    loop = Loop(model, CASES[row].cls(model.parameters(), **CASES[row].settings))
    run(loop)
    return loop.path


def train_by_fabric(row: str, run: Callable[[Loop], None]) -> list[torch.Tensor]:
    model = make_model()
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    optimizer: Any = CASES[row].cls(model.parameters(), **CASES[row].settings)
    _, optimizer = fabric.setup(model, optimizer)
    loop = Loop(model, optimizer)  # Fabric's module gives float32
    run(loop)
    return loop.path


class ByHand(LightningModule):
    def __init__(self, row: str, run: Callable[[Loop], None]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net, self.row, self.run = make_model(), row, run

    def training_step(self, batch, batch_idx):
        loop = Loop(self.net, self.optimizers())
        self.run(loop)
        self.path = loop.path

    def configure_optimizers(self):
        return CASES[self.row].cls(self.parameters(), **CASES[self.row].settings)

    def train_dataloader(self):
        return torch.utils.data.DataLoader([0])  # type: ignore[arg-type]


def train_by_hand(row: str, run: Callable[[Loop], None]) -> list[torch.Tensor]:
    module = ByHand(row, run)
    quiet_trainer(max_epochs=1, precision="64-true").fit(module)
    return module.path


@pytest.mark.parametrize("train", [train_by_fabric, train_by_hand])
@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(
    "row",
    [
        "nag",
        "newton",
        *(pytest.param(r, marks=pytest.mark.full) for r in ("sgd", "adam", "newton_cg")),
    ],
)
def test_a_wrapped_optimizer_trains_as_a_bare_one(row, run, train):
    expected, came = train_bare(row, run), train(row, run)
    assert len(came) == len(expected) > 5
    gap = (torch.stack(came) - torch.stack(expected)).abs().max().item()
    print(f"{row}, {run.__name__}, {train.__name__}: {gap:.1e}")
    assert gap <= 1e-12
    assert (expected[-1] - expected[0]).abs().max() > 0.01


@pytest.mark.parametrize("train", [train_by_fabric, train_by_hand])
@pytest.mark.parametrize("solver", ["newton", "newton_cg"])
def test_a_wrapped_newton_tries_its_steps_as_a_bare_one(solver, train, monkeypatch):
    settings = CASES[solver].settings | {"adapt_damping": True, "line_search": True}
    monkeypatch.setitem(CASES, solver, CASES[solver]._replace(settings=settings))

    def by_closures(loop: Loop) -> None:
        for i in range(6):
            loop.step_by_closure(i)
            loop.path.append(torch.tensor([loop.optimizer.cost] * 8, dtype=torch.float64))

    expected, came = train_bare(solver, by_closures), train(solver, by_closures)
    torch.testing.assert_close(torch.stack(came), torch.stack(expected), rtol=0, atol=1e-12)


def test_what_is_set_and_read_through_a_wrapper_is_the_optimizer_s():
    model = make_model()
    bare: Any = CASES["newton"].cls(model.parameters(), **CASES["newton"].settings)
    _, wrapped = Fabric(accelerator="cpu", devices=1).setup(model, bare)
    means = []
    wrapped.average = lambda tensor: means.append(tensor) or tensor
    loop = Loop(model, wrapped)
    loop.step(0)
    assert len(means) == 1
    assert wrapped.cost == bare.cost > 0
