"""Memory and traffic of ZeRO's stages, as predicted and as measured in 1, 2 and 4 processes.

`python -m tests.contract.test_zero_memory` prints the table.
"""

import gc
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import scratchopt
from scratchopt import memory
from scratchopt.memory_footprint import Memory
from scratchopt.zero import DataParallel, Stage1, Stage2, Stage3
from tests.shared.two_processes import run_by_two

STAGES = (DataParallel, Stage1, Stage2, Stage3)
BUCKET = 10_000  # bytes, so that the model has three
METHODS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (scratchopt.Adam, {"lr": 0.01}),
    "nag": (scratchopt.NAG, {"lr": 0.01, "momentum": 0.9}),
    "muon": (scratchopt.Muon, {"lr": 0.01}),
    "torch's adamw": (torch.optim.AdamW, {"lr": 0.01}),
}
MODELS = ("layers", "with a root", "partly frozen")
COUNTS = (1, 2, 4)
CORE = Path(scratchopt.zero.__file__).parent


class WithRoot(nn.Module):
    """Blocks in a list, and layers before and after them that are in none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(37, 23), nn.Linear(23, 5)
        self.blocks = nn.ModuleList(nn.Linear(23, 23) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x).tanh()
        return self.last(x)


def make_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "with a root":
        return WithRoot()
    sizes = ((37, 53), (53, 41), (41, 29), (29, 5))
    layers = [nn.Linear(*size) for size in sizes]
    if name == "partly frozen":
        layers[0].requires_grad_(False)
        layers[2].weight.requires_grad_(False)
    return nn.Sequential(*(nn.Sequential(layer, nn.Tanh()) for layer in layers))


def storages(tensors: Iterable[Any]) -> dict[int, int]:
    """Bytes of the memory of some tensors, by its address."""
    found = (t.untyped_storage() for t in tensors if t is not None and t.device.type == "cpu")
    return {storage.data_ptr(): storage.nbytes() for storage in found if storage.nbytes()}


def find_tensors() -> list[Tensor]:
    """All tensors that Python knows."""
    gc.collect()
    return [each for each in gc.get_objects() if issubclass(type(each), Tensor)]


class Peak(TorchDispatchMode):
    """The most memory of parameters and of what a stage's code touches, at any operation of it.

    Args:
        tensors: that count from the start.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.seen: dict[int, StorageWeakRef] = {}
        self.bytes = {"as gradients arrive": 0, "else": 0}
        self._look_at(tensors, "else")

    def _look_at(self, tensors: Iterable[Any], moment: str) -> None:
        for each in tensors:
            if isinstance(each, Tensor) and each.device.type == "cpu":
                self.seen[each.untyped_storage()._cdata] = StorageWeakRef(each.untyped_storage())
        self.seen = {key: ref for key, ref in self.seen.items() if not ref.expired()}
        alive = (torch.UntypedStorage._new_with_weak_ptr(ref.cdata) for ref in self.seen.values())
        total = sum(each.nbytes() for each in alive if each is not None)
        self.bytes[moment] = max(self.bytes[moment], total)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        names = _find_functions()
        if names:
            moment = "as gradients arrive" if "add" in names else "else"
            self._look_at(tree_iter((args, kwargs, result)), moment)
        return result


def _find_functions() -> list[str]:
    """The functions of a stage that run, but none where gloo does, which copies what it reduces."""
    found, frame = [], sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent == CORE and path.stem != "watch":  # within which methods of others run
            found.append(frame.f_code.co_name)
            if path.stem == "processes":
                return []
        frame = frame.f_back
    return found


def measure(kind: type[DataParallel], model_name: str, method: str) -> dict[str, Any]:
    """What one process has and sends; in bytes."""
    cls, settings = METHODS[method]
    x = torch.randn(3, 37)
    before = find_tensors()  # which so live on
    model = make_model(model_name)
    optimizer = cls(model.parameters(), **settings)
    stage = kind(model, [optimizer], bucket_bytes=BUCKET)

    def compute() -> None:
        getattr(optimizer, "lookahead_", int)()
        optimizer.zero_grad()
        model(x).square().mean().backward()

    compute()
    optimizer.step()
    buckets: list[Any] = stage.buckets
    kept = [getattr(b, name) for b in buckets for name in ("values", "mine") if hasattr(b, name)]
    held = [p for group in optimizer.param_groups for p in group["params"]]
    peaks = []
    for number_of_pass in range(3):  # gloo's threads may hold a bucket for a moment longer
        if number_of_pass:
            optimizer.step()
        stage.processes.traffic.clear()
        optimizer.zero_grad()
        with Peak([*model.parameters(), *kept]) as peak:
            compute()
        peaks.append(peak.bytes)
    point = getattr(optimizer, "_point", None)
    purposes = {
        "parameters": [*model.parameters(), *kept],
        "gradients": [p.grad for p in (*model.parameters(), *held)],
        "state": [t for v in optimizer.state.values() for t in tree_iter(v)],
        "lookahead": [t for some in (point._memory if point else ()) for t in some.copies],
    }
    measured = {name: sum(storages(tensors).values()) for name, tensors in purposes.items()}
    resting = measure_others(before, sum(measured.values()))
    optimizer.step()
    traffic = dict(stage.processes.traffic)
    rank, count = stage.processes.rank, stage.processes.count
    number = STAGES.index(kind)
    layout = {"stage": number, "processes": count, "rank": rank, "bucket_bytes": BUCKET}
    rows = [
        {"bytes": b.layout.length * 4, "trains": b.trains, "whole": b.whole, "unit": unit}
        for b, unit in zip(buckets, number_units(stage), strict=True)
    ]
    stage.close()
    return {
        "rank": rank,
        "predicted": memory(make_model(model_name), cls, **layout, **settings)._asdict(),
        "measured": measured,
        "resting": resting,
        # By hand whole tensors begin at multiples of 8; torch's DDP, which stage 0 is, has no need.
        "spare": 0 if number else sum(b.layout.padding * 4 for b in buckets if b.trains),
        "passing": {
            moment: min(each[moment] for each in peaks)
            - measured["parameters"]
            - measured["gradients"]
            for moment in peaks[0]
        },
        "gradient": max(p.numel() * 4 for p in make_model(model_name).parameters()),
        "buckets": rows,
        "traffic": traffic,
    }


def measure_others(tensors: list[Tensor], expected: int) -> int:
    """Bytes of all memory but that of some tensors, as soon as gloo's threads have let go of it."""
    known, found = storages(tensors), -1
    for _ in range(50):
        found = sum(size for at, size in storages(find_tensors()).items() if at not in known)
        if found == expected:
            break
        time.sleep(0.02)
    return found


def number_units(stage: Any) -> list[int]:
    """The number of each bucket's unit; that of what is in no list is -1."""
    units = getattr(stage, "_units", [])
    owners = [stage._unit_of[bucket] for bucket in stage.buckets] if units else []
    numbers = [(units.index(unit) + 1) % len(units) - 1 for unit in owners]
    return numbers or [0] * len(stage.buckets)


def measure_all(folder: Path, rank: int) -> None:
    rows = {
        f"{model}, {method}, stage {number}": measure(kind, model, method)
        for model in MODELS
        for method in METHODS
        for number, kind in enumerate(STAGES)
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(rows))


def start(folder: Path, processes: int) -> list[tuple[str, dict[str, Any]]]:
    """The rows of all processes, each with its model, method and stage."""
    run_by_two("tests.contract.test_zero_memory", folder, processes=processes)
    found = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(processes)]
    return [(name, of_rank[name]) for name in found[0] for of_rank in found]


@pytest.fixture(scope="module", params=COUNTS)
def rows(request, tmp_path_factory) -> list[tuple[str, dict[str, Any]]]:
    return start(tmp_path_factory.mktemp("rows"), request.param)


@pytest.mark.slow
def test_what_lies_in_memory_after_a_backward_pass_is_what_was_predicted_to_the_byte(rows):
    for name, row in rows:
        predicted, measured = Memory(**row["predicted"]), row["measured"]
        padding = sum(
            measured[purpose] - getattr(predicted, purpose)
            for purpose in ("parameters", "gradients")
        )
        stated = predicted.padding + row["spare"]
        assert (predicted.state, predicted.lookahead, stated) == (
            *(measured["state"], measured["lookahead"]),
            padding,
        ), name
        assert predicted.total + row["spare"] == row["resting"], name


@pytest.mark.slow
def test_at_most_a_bucket_or_a_unit_lies_in_memory_besides_in_a_backward_pass(rows):
    for name, row in rows:
        most = bound(name, row)
        assert row["passing"]["else"] <= most, name
        assert row["passing"]["as gradients arrive"] <= most + row["gradient"], name


def bound(name: str, row: dict[str, Any]) -> int:
    """Bytes of a stage beside those at rest, but for a gradient that autograd has just made."""
    trained = [b for b in row["buckets"] if b["trains"]]
    if "stage 1" in name:  # a bucket of which the process has nothing lives until the end
        return sum(b["bytes"] for b in trained) - row["measured"]["gradients"]
    if "stage 2" in name:  # one that fills, for each kind
        largest: dict[bool, int] = {}
        for b in trained:
            largest[b["whole"]] = max(b["bytes"], largest.get(b["whole"], 0))
        return sum(largest.values())
    if "stage 3" in name:  # parameters and gradient; frozen ones stay until the pass is over
        units: Counter[int] = Counter()
        for b in row["buckets"]:
            units[b["unit"]] += b["bytes"] * (2 if b["trains"] else 1)
        frozen = sum(b["bytes"] for b in row["buckets"] if not b["trains"])
        return units.pop(-1, 0) + max(units.values()) + frozen
    return 0


@pytest.mark.slow
def test_the_traffic_of_a_step_is_2_or_3_times_the_parameters(rows):
    for name, row in rows:
        traffic = Counter(row["traffic"])
        size = sum(b["bytes"] for b in row["buckets"])
        trained = sum(b["bytes"] for b in row["buckets"] if b["trains"])
        if "stage 0" in name:
            expected = {"all-reduce": 2 * trained}
        elif "stage 3" in name:
            entered = sum(
                b["bytes"] for b in row["buckets"] if "frozen" not in name or b["unit"] > 0
            )
            expected = {"all-gather": size + entered, "reduce-scatter": trained}
        else:
            ahead = trained if "nag" in name else 0
            expected = {"all-gather": trained + ahead, "reduce-scatter": trained}
        assert traffic.pop("other") <= 8 * 12 + 16, (
            name
        )  # which parameters have a gradient; the order
        assert traffic == expected, name


def print_table() -> None:
    """Prints predicted and measured bytes, the peak beside them, and the traffic of a step."""
    print("| processes | rank | model, method, stage | predicted | at rest | peak | traffic |")
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            for name, row in start(Path(folder), count):
                predicted = Memory(**row["predicted"])
                parts = " + ".join(str(size) for size in predicted)
                sent = ", ".join(f"{size} {name}" for name, size in sorted(row["traffic"].items()))
                print(
                    f"| {count} | {row['rank']} | {name} | {parts} = {predicted.total} | "
                    f"{row['resting']} | +{max(row['passing'].values())} | {sent} |"
                )


if __name__ == "__main__":
    if sys.argv[1:]:
        torch.distributed.init_process_group("gloo")
        measure_all(Path(sys.argv[1]), torch.distributed.get_rank())
        torch.distributed.destroy_process_group()
    else:
        print_table()
