"""Every rule under every stage of `scratchopt.zero` against torch's DistributedDataParallel.

Two processes are equal to it bit for bit, for a sum of two numbers does not depend on their order.
More processes are so where all sums are exact: gradients are rounded to multiples of N·2⁻ᵏ for N
processes, of which the mean needs no rounding. So what they differ by without that comes from the
order of the sums alone, and each rule makes of it what it makes of any rounding: SOAP 0.1 over 50
steps of four processes, as much by hand as by stages, and SGD less than 1e-12.

`python -m tests.contract.test_zero 50` runs every rule over 50 steps, in one way each, and prints
how far they end apart.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import scratchopt
from scratchopt.engine.shapes import SHAPES
from scratchopt.zero import DataParallel, Stage1, Stage2, Stage3, clip_gradients
from tests.contract.test_global_sums import Estimated, Normalized
from tests.contract.test_shapes import ByNorm
from tests.shared.cases import CASES, DRIVERS
from tests.shared.two_processes import run_by_two

Make = Callable[[Any], torch.optim.Optimizer]
STAGES = {"by hand": DataParallel, "1": Stage1, "2": Stage2, "3": Stage3}
DTYPES = {"float64": torch.float64, "float32": torch.float32}
GRID = {torch.float64: 2.0**-30, torch.float32: 2.0**-14}
OPTIONS: dict[str, dict[str, Any]] = {
    "decay": {"weight_decay": 0.05, "maximize": True},
    "compensated": {"compensated": True},
    "compensated, compiled": {"compensated": True, "fused": True},
}
TORCH: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 0.05, "amsgrad": True},
    "AdamW": {"lr": 0.05},
    "Adagrad": {"lr": 0.1, "initial_accumulator_value": 0.1},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True},
    "NAdam": {"lr": 0.05},
    "RAdam": {"lr": 0.05},
    "Adamax": {"lr": 0.05},
    "Adadelta": {},
    "ASGD": {"lr": 0.05, "t0": 10},
    "Rprop": {"lr": 0.01},
}


def _find_rows() -> dict[str, Make]:
    """Every method of the table with its drivers and options, rules of users, and torch's own."""
    rows: dict[str, Make] = {}
    for name, case in CASES.items():
        if case.needs_hessian:
            continue
        make = partial(case.cls, **case.settings)
        for driver in case.drivers:
            rows[f"{name}, {driver}"] = partial(make, **DRIVERS[driver])
        refused = SHAPES[getattr(case.cls, "shape", "elementwise")].refused
        whole = case.settings.get("cautious") or refused
        for label, options in OPTIONS.items():
            if not (options.get("fused") and whole):
                rows[f"{name}, {label}"] = partial(make, **options)
    rows["nag, cautious"] = partial(scratchopt.NAG, lr=0.05, momentum=0.9, cautious=True)
    rows["rule of tensors"] = partial(ByNorm, lr=0.05)
    rows["rule of sums"] = partial(Normalized, lr=0.05)
    rows["rule of sums, compiled"] = partial(Normalized, lr=0.05, fused=True)
    rows["rule of sums that are kept"] = partial(Estimated, lr=0.05)
    for name, settings in TORCH.items():
        rows[f"torch {name}"] = partial(getattr(torch.optim, name), **settings)
    return rows


ROWS = _find_rows()


# Of each rule one way to run it.
MAIN = [
    next(row for row in ROWS if row.startswith(f"{name}, "))
    for name, case in CASES.items()
    if not case.needs_hessian
] + [row for row in ROWS if row.startswith(("rule of", "torch"))]


def rows_of(dtype: str) -> list[str]:
    """The rows that take a data type."""
    return [row for row in ROWS if dtype == "float32" or "compensated" not in row]


class Net(nn.Module):
    """Blocks in a list, a rest that is in none, and a 0-dim parameter; 106 numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(5, 6)
        self.blocks = nn.ModuleList(nn.Linear(6, 6, bias=bias) for bias in (True, False))
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).tanh()
        for block in self.blocks:
            x = x + block(x).tanh()
        return self.gain * x


def loss_of(model: nn.Module, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """The loss of this process's next batch."""
    x = torch.randn(4, 5, generator=generator, dtype=dtype)
    return (model(x) - x.sum(1, keepdim=True).sin()).square().mean()


def train(
    way: Any,
    make: Make,
    dtype: torch.dtype,
    steps: int,
    *,
    clip: float = 0.1,
    exact: bool = False,
) -> list[Tensor]:
    """The whole parameters after some steps of two batches each, clipped by norm.

    Args:
        way: a stage's class; None, torch's DDP.
        make: makes the optimizer.
        dtype: of the model.
        steps: how many.
        clip: the norm that is allowed.
        exact: whether gradients are rounded, so that sums over the processes are exact.
    """
    net = Net().to(dtype)
    if exact:
        grid = GRID[dtype] * dist.get_world_size()
        for p in net.parameters():
            p.register_hook(lambda g: (g / grid).round() * grid)
    optimizer: Any = make(list(net.parameters()))
    stage = way and way(net, [optimizer], bucket_bytes=60 * dtype.itemsize)
    model: Any = net if stage else DistributedDataParallel(net)
    generator = torch.Generator().manual_seed(1 + dist.get_rank())
    for _ in range(steps):
        getattr(optimizer, "lookahead_", lambda: None)()
        optimizer.zero_grad()
        for last in (False, True):
            if stage:
                stage.accumulating = not last
            else:
                model.require_backward_grad_sync = last
            (loss_of(model, generator, dtype) / 2).backward()
        if isinstance(stage, Stage1):
            clip_gradients(stage, optimizer, clip)
        else:
            owned = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(owned, clip)
        optimizer.step()
    if not stage:
        return [p.detach() for p in net.parameters()]
    with stage.whole():
        return [p.detach().clone() for p in net.parameters()]


def distance(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference, 0 if and only if all is equal bit for bit."""
    if all(map(torch.equal, ours, theirs)):
        return 0.0
    apart = max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    return apart if apart > 0 else float("nan")


def measure(row: str, dtype: torch.dtype, steps: int, exact: bool = False) -> dict[str, Any]:
    """How far each stage ends from DDP, or why not."""
    train_by = partial(train, make=ROWS[row], dtype=dtype, steps=steps, exact=exact)
    expected, found = train_by(None), {}
    for name, way in STAGES.items():
        try:
            found[name] = distance(train_by(way), expected)
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            found[name] = str(error)
    return found


CORE = ["adam, compiled", "nag, list", "adafactor, default", "muon, default", "rule of sums"]

CALM = ["sgd, list", "nag, list", "adamw, list"]


def start(
    folder: Path, processes: int, dtype: str, steps: int, kind: str, rows: list[str]
) -> list[dict[str, Any]]:
    """What all processes measured: of rows, for a number of steps, in a data type."""
    arguments = (folder, dtype, steps, kind, *rows)
    run_by_two(
        __name__ if __name__ != "__main__" else __spec__.name, *arguments, processes=processes
    )
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, Any]]:
    """What two processes measured of the representatives."""
    return start(tmp_path_factory.mktemp("core"), 2, "float32", 6, "plain", CORE)


def check(found: list[dict[str, Any]], row: str, within: float) -> None:
    """Holds every stage of a row, in all processes, to DDP."""
    for of_rank in found:
        assert list(of_rank[row]) == list(STAGES)
        for stage, apart in of_rank[row].items():
            assert isinstance(apart, float), f"stage {stage}: {apart}"
            assert apart <= (within if stage != "by hand" else 0.0), f"stage {stage}: {apart}"


def within_of(row: str, dtype: str) -> float:
    """Nothing; of sums over all parameters, which are added in another order, some roundings."""
    return 256 * torch.finfo(DTYPES[dtype]).eps if row.startswith("rule of sums") else 0.0


@pytest.mark.parametrize("row", CORE)
def test_a_representative_of_each_shape_is_ddp_to_the_last_bit(row, found):
    check(found, row, within_of(row, "float32"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("dtype", "rows"), [("float32", rows_of("float32")), ("float64", MAIN)])
def test_every_rule_is_ddp_to_the_last_bit(dtype, rows, tmp_path):
    """In float32 with every driver and option."""
    found = start(tmp_path, 2, dtype, 4, "plain", rows)
    for row in rows:
        check(found, row, within_of(row, dtype))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_processes_are_ddp_to_the_last_bit_where_sums_are_exact(tmp_path):
    found = start(tmp_path, 3, "float64", 4, "exact", MAIN)
    for row in MAIN:
        check(found, row, within_of(row, "float64"))


@pytest.mark.slow
def test_rules_that_amplify_no_rounding_end_within_1e_12_with_three_processes(tmp_path):
    for of_rank in start(tmp_path, 3, "float64", 20, "plain", CALM):
        for row in CALM:
            assert max(of_rank[row].values()) <= 1e-12


def tabulate(steps: int) -> None:
    """Prints how far each stage ends from DDP, for every rule and number of processes."""
    runs = [
        *((2, dtype, steps, "plain", MAIN) for dtype in DTYPES),
        *((processes, "float64", steps, "exact", MAIN) for processes in (3, 4)),
        *((processes, "float64", steps, "plain", CALM) for processes in (3, 4)),
    ]
    for processes, dtype, count, kind, rows in runs:
        apart = {}
        for first in range(0, len(rows), 12):  # a start may take minutes, and not more
            some = rows[first : first + 12]
            with tempfile.TemporaryDirectory() as folder:
                found = start(Path(folder), processes, dtype, count, kind, some)
            apart |= {
                row: max(max(of[row].values(), key=_as_number) for of in found) for row in some
            }
        others = {row: value for row, value in apart.items() if value != 0}
        print(
            f"{processes} processes, {dtype}, {count} steps, {kind}: {len(rows)} rules, "
            f"{len(rows) - len(others)} equal to the last bit; apart by {others}",
            flush=True,
        )


def _as_number(apart: float | str) -> float:
    return apart if isinstance(apart, float) else float("inf")


def _main(out: str, dtype: str, steps: str, kind: str, *rows: str) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    take = partial(measure, dtype=DTYPES[dtype], steps=int(steps), exact=kind == "exact")
    found = {row: take(row) for row in rows}
    Path(out, f"{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _main(*sys.argv[1:])
    else:
        tabulate(int(sys.argv[1]))
