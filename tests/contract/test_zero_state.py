"""The whole state of an optimizer, from one process to several, to others, and back.

Every process has the same gradients, multiples of 6·2⁻²⁰, of which the means over two and three
processes need no rounding. So a training that goes from one to another is that of one process to
the last bit; but for sums over all parameters, which are added in another order.
"""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import scratchopt
from scratchopt.zero import (
    Processes,
    Stage1,
    Stage2,
    Stage3,
    gather_parameters,
    gather_state,
    load_state,
)
from tests.contract.test_global_sums import Estimated
from tests.shared.two_processes import run_by_two

STAGES: dict[str, Any] = {"1": Stage1, "2": Stage2, "3": Stage3}
MAKERS: dict[str, Callable[[Any], Any]] = {
    "amsgrad": partial(scratchopt.Adam, lr=0.05, amsgrad=True),
    "compensated": partial(scratchopt.AdamW, lr=0.05, compensated=True),
    "nag": partial(scratchopt.NAG, lr=0.05, momentum=0.9),
    "schedule free": partial(scratchopt.ScheduleFreeAdamW, lr=0.05),
    "adafactor": partial(scratchopt.Adafactor, lr=0.05),
    "muon": partial(scratchopt.Muon, lr=0.05),
    "soap": partial(scratchopt.SOAP, lr=0.05, precondition_frequency=2),
    "sums": partial(Estimated, lr=0.05),
    "torch AdamW": partial(torch.optim.AdamW, lr=0.05),
    "torch NAdam": partial(torch.optim.NAdam, lr=0.05),
    "torch ASGD": partial(torch.optim.ASGD, lr=0.05, t0=2),
}
SIZES = ((5, 3), (7,), (4, 2), (3, 3), (2, 2))
LATE, NEVER = 2, 3  # the parameter whose gradient comes at the fourth step, and at none
STEPS = 2  # of each training


class Leaf(nn.Module):
    """A parameter whose gradient is given."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.randn(size))

    def forward(self, gradient: Tensor) -> Tensor:
        return (self.p * gradient).sum()


class Given(nn.Module):
    """Parameters of all kinds, a 0-dim one too, whose gradients are given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.leaves = nn.ModuleList(map(Leaf, SIZES))
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        whole = [torch.randint(-(2**17), 2**17, s, generator=generator) for s in (*SIZES, ())]
        *gradients, last = [g * 6 * 2.0**-20 for g in whole]
        total = self.gain * last
        for index, leaf in enumerate(self.leaves):
            if index != NEVER and (index != LATE or step >= 3):
                total = total + leaf(gradients[index])
        return total


def train(model: nn.Module, optimizer: Any, first: int) -> None:
    for step in range(first, first + STEPS):
        getattr(optimizer, "lookahead_", lambda: None)()
        optimizer.zero_grad()
        model(step).backward()
        optimizer.step()


def go_on_alone(maker: str, saved: Any, steps: int = STEPS) -> dict[str, Any]:
    """A training that goes on in one process that knows no stage."""
    model = Given()
    optimizer = MAKERS[maker](list(model.parameters()))
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["state"])
    first = saved["step"] if saved else 0
    for step in range(first, first + steps, STEPS):
        train(model, optimizer, step)
    return {"model": model.state_dict(), "state": optimizer.state_dict(), "step": first + steps}


def go_on(maker: str, stage_name: str, saved: Any) -> dict[str, Any]:
    """A training that goes on in these processes, and the state as it was loaded."""
    model = Given()
    optimizer = MAKERS[maker](list(model.parameters()))
    stage = STAGES[stage_name](model, [optimizer], bucket_bytes=60)
    with stage.whole():
        model.load_state_dict(saved["model"])
    load_state(stage, optimizer, saved["state"])
    loaded = gather_state(stage, optimizer)
    train(model, optimizer, saved["step"])
    keep = dist.get_rank() == 0
    end = {"model": gather_parameters(stage, keep=keep), "step": saved["step"] + STEPS}
    return end | {"state": gather_state(stage, optimizer, keep=keep), "loaded": loaded}


def differ(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two states differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{path}: {list(a)} and {list(b)}"]
        return [line for key in a for line in differ(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple):
        rows = zip(a, b, strict=True)
        return [line for i, (x, y) in enumerate(rows) for line in differ(x, y, f"{path}.{i}")]
    if isinstance(a, Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    else:
        same = a == b
    return [] if same else [f"{path}: {a} and {b}"]


CHAIN = [(maker, stage) for maker in MAKERS for stage in STAGES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What one process came to, and two that went on from there."""
    folder = tmp_path_factory.mktemp("states")
    for maker in MAKERS:
        for stage in STAGES:
            torch.save(go_on_alone(maker, None), folder / f"{maker}, {stage}, 1.pt")
    run_by_two(__name__, folder, 1, 2)
    return folder


@pytest.fixture(scope="module")
def gone_on(folder) -> Path:
    """The same, and three that went on from two, and one that went on from three."""
    run_by_two(__name__, folder, 2, 3, processes=3)
    run_by_two(__name__, folder, 3, "1 again", processes=1)
    return folder


def check(maker: str, ours: Any, never_stopped: Any) -> None:
    """To the last bit; sums over all parameters within a few roundings."""
    if maker == "sums":
        torch.testing.assert_close(ours["model"], never_stopped["model"], rtol=1e-6, atol=1e-7)
    else:
        assert not differ(ours["model"], never_stopped["model"])
        assert not differ(ours["state"], never_stopped["state"])


def load(folder: Path, maker: str, stage: str, processes: object) -> Any:
    return torch.load(folder / f"{maker}, {stage}, {processes}.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(("maker", "stage"), CHAIN)
def test_a_state_goes_from_one_process_to_two_and_back(maker, stage, folder):
    start, two = (load(folder, maker, stage, n) for n in (1, 2))
    assert not differ(two["loaded"], start["state"])
    assert len(two["state"]["state"]) == len(SIZES)  # all but the one without a gradient
    check(maker, two, go_on_alone(maker, start))
    check(maker, go_on_alone(maker, two), go_on_alone(maker, None, 3 * STEPS))


@pytest.mark.slow
@pytest.mark.parametrize(("maker", "stage"), CHAIN)
def test_a_state_goes_from_two_processes_to_three_and_to_one(maker, stage, gone_on):
    two, three, one = (load(gone_on, maker, stage, n) for n in (2, 3, "1 again"))
    assert not differ(three["loaded"], two["state"])
    assert not differ(one["loaded"], three["state"])
    check(maker, one, go_on_alone(maker, None, 4 * STEPS))
    check(maker, go_on_alone(maker, three), go_on_alone(maker, None, 4 * STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("asks", [0, 1])
def test_one_process_that_asks_alone_is_refused_and_the_other_does_not_hang(asks, folder):
    found = [json.loads((folder / f"asked {rank}.json").read_text())[asks] for rank in (0, 1)]
    assert found[asks] == (
        f"process {asks} asked for the whole state of an optimizer, and another of the 2 has not "
        "within 0.5 s: let all processes ask, and save in one of them"
    )
    assert found[1 - asks] == "lost the other"


def _ask_alone(asks: int) -> str:
    """What becomes of a process that asks for a state alone, and of the other when it goes on."""
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=3))
    processes = Processes(group, patience=0.5)
    model = Given()
    optimizer = MAKERS["amsgrad"](list(model.parameters()))
    stage = Stage2(model, [optimizer], processes)
    train(model, optimizer, 0)
    try:
        if dist.get_rank() == asks:
            gather_state(stage, optimizer)
        else:
            train(model, optimizer, STEPS)
    except RuntimeError as error:
        return str(error) if dist.get_rank() == asks else "lost the other"
    return "nothing"


def _main(folder: str, source: str, name: str) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    for maker, stage in CHAIN:
        end = go_on(maker, stage, load(Path(folder), maker, stage, source))
        if dist.get_rank() == 0:
            torch.save(end, Path(folder, f"{maker}, {stage}, {name}.pt"))
    if dist.get_world_size() == 2:
        asked = [_ask_alone(rank) for rank in (0, 1)]
        Path(folder, f"asked {dist.get_rank()}.json").write_text(json.dumps(asked))
    dist.destroy_process_group()


if __name__ == "__main__":
    _main(*sys.argv[1:])
