"""Times one step of every method and driver, against torch's own and a plain copy of memory.

In each round all contestants take their turn, so that a machine that slows down slows all; a ratio
is the median over the rounds of the ratio within a round. A turn is several steps in a row, of
which it has the mean, or one where that is long; so small sizes are timed in the cache. Other
programs must rest: where a thread waits for another that has no core, a step takes up to a
thousand times as long, and most where many tensors are small.

All contestants of a size share parameters and gradients, and each has its own state. The lr is so
small that nothing moves, and the gradients are set anew before each turn, because torch's
foreach Nesterov writes into them.

A copy moves as many bytes as the step must, half of them read and half written. It writes where it
has not read, so it needs more of the cache, and a CPU first fetches what it will overwrite; a step
writes where it has just read. So its ratio to the copy can come below 1.
"""

import csv
import gc
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import prod
from operator import truediv
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TextIO, TypeAlias

import torch
from torch import Tensor

from scratchopt.bench.step_cases import LARGEST_MATRIX, METHODS, SIZES, TimedMethod
from scratchopt.method_files import method_classes

Works: TypeAlias = dict[str, Callable[[], Any]]
Times: TypeAlias = dict[str, list[float]]

OURS: dict[str, dict[str, bool]] = {
    "list": {"foreach": True},
    "loop": {"foreach": False},
    "default": {},
    "compiled": {"fused": True},
}
TORCHS: dict[str, dict[str, bool]] = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "default": {},
}
PATHS = [f"torch {path}" for path in ("loop", "foreach", "fused")]
CONTESTANTS = [*(f"ours {name}" for name in OURS), *(f"torch {name}" for name in TORCHS), "copy"]
RATIOS = [*OURS, "default/default", "fused/fused", "compiled/copy"]

LR = 1e-9
GRADIENT = 0.01
ON_CUDA = 10  # steps in a row at least, for there a step is queued while the last one runs

COLUMNS = "{:<17}{:<9}{:>6}{:>6}{:>8}{:>9}{:>10}{:>11}{:>11}{:>10}{:>13}  {}"
GROUPS = "{:26}{:>29}{:>10}{:>11}{:>11}{:>10}{:>13}"


def tabulate(
    sizes: Iterable[str],
    methods: Iterable[str],
    device: str,
    rounds: int | None,
    file: TextIO | None,
) -> None:
    """Prints a row for each size and method as soon as it is measured.

    Args:
        sizes: keys of `SIZES`.
        methods: keys of `METHODS`.
        device: cpu or cuda.
        rounds: how often everything is timed; None, as often as suits the size.
        file: where the same goes as comma-separated values, with the times of all contestants.
    """
    facts = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        "load": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown",
    }
    print("One step. " + ", ".join(f"{name}: {fact}" for name, fact in facts.items()))
    above = "default /", "compiled /", "compiled /", "compiled", "fastest"
    below = "torch's", "its fused", "copy", "ms", "ms"
    print(GROUPS.format("", "ours / torch's fastest", *above))
    print(COLUMNS.format("size", "method", *OURS, *below, "which"), flush=True)
    writer = csv.writer(file) if file else None
    if writer:
        milliseconds = [f"{name} ms" for name in CONTESTANTS]
        writer.writerow([*facts, "size", "method", "rounds", *RATIOS, "fastest", *milliseconds])
    for size, method, times in measure(sizes, methods, device, rounds):
        ratios = compute_ratios(times)
        middles = {name: median(column) for name, column in times.items()}
        best = find_fastest(times)
        print(_row(size, method, ratios, middles, best), flush=True)
        if writer and file:
            values = [*map(ratios.get, RATIOS), best, *map(middles.get, CONTESTANTS)]
            writer.writerow([*facts.values(), size, method, len(times[best]), *values])
            file.flush()


def _row(size: str, method: str, ratios: dict[str, float], ms: dict[str, float], best: str) -> str:
    cells = [f"{ratios[name]:.2f}" if name in ratios else "-" for name in RATIOS]
    compiled = f"{ms['ours compiled']:.3f}" if "ours compiled" in ms else "-"
    absolute = compiled, f"{ms[best]:.3f}"
    return COLUMNS.format(size, method, *cells, *absolute, best.removeprefix("torch "))


def measure(
    sizes: Iterable[str], methods: Iterable[str], device: str, rounds: int | None
) -> Iterator[tuple[str, str, Times]]:
    """Yields size, method, and the times of all contestants, one after another."""
    methods = list(methods)
    for size in sizes:
        shapes, steps, usual = SIZES[size]
        steps = max(steps, ON_CUDA) if device == "cuda" else steps
        params = [torch.nn.Parameter(torch.randn(shape, device=device)) for shape in shapes]
        for p in params:
            p.grad = torch.empty_like(p)
        largest = max(map(prod, shapes))
        for method in methods:
            if METHODS[method].matrix and largest > LARGEST_MATRIX:
                continue
            times = time_contestants(
                make_contestants(method, params), params, steps, rounds or usual
            )
            gc.collect()  # the optimizers, before the next ones' state needs the memory
            yield size, method, times


def make_contestants(name: str, params: list[torch.nn.Parameter]) -> Works:
    """Makes a method's contestants: a step with each driver of ours and of torch's, and a copy."""
    method: TimedMethod = METHODS[name]
    device = params[0].device
    classes = {cls.__name__: cls for cls in method_classes().values()}
    ours = classes[name]
    works: Works = {}
    for driver, keywords in OURS.items():
        if method.whole and (keywords.get("foreach") or keywords.get("fused")):
            continue
        works[f"ours {driver}"] = whole_step(ours(params, lr=LR, **keywords))
    for path, keywords in TORCHS.items():
        if path != "fused" or device.type in method.fused:
            works[f"torch {path}"] = _torch_step(method, params, keywords)
    source = torch.ones(sum(p.numel() for p in params) * method.moves // 2, device=device)
    works["copy"] = partial(source.clone().copy_, source)
    return works


def _torch_step(
    method: TimedMethod, params: list[torch.nn.Parameter], keywords: dict[str, Any]
) -> Callable[[], Any]:
    """A step of a method's twin; of matrices alone where it takes no others, with AdamW."""
    twin = getattr(torch.optim, method.twin)
    if not method.matrix:
        return twin(params, lr=LR, **method.settings, **keywords).step
    optimizers = [twin([p for p in params if p.dim() > 1], lr=LR)]
    if rest := [p for p in params if p.dim() < 2]:
        optimizers.append(torch.optim.AdamW(rest, lr=LR, **keywords))

    def step() -> None:
        for optimizer in optimizers:
            optimizer.step()

    return step


def whole_step(optimizer: Any) -> Callable[[], Any]:
    """The whole step of an optimizer: NAG's begins with its lookahead.

    So NAG is charged for what it costs to be exact; its update alone is Momentum's.
    """
    if not optimizer.gradient_point:
        return optimizer.step

    def step() -> None:
        optimizer.lookahead_()
        optimizer.step()

    return step


def time_contestants(
    works: Works, params: list[torch.nn.Parameter], steps: int, rounds: int
) -> Times:
    """Milliseconds of each contestant in each round; first a round that does not count."""
    grads = [p.grad for p in params if p.grad is not None]
    times: Times = {name: [] for name in works}
    for _ in range(1 + rounds):
        for name, work in works.items():
            times[name].append(time_turn(work, steps, grads))
    return {name: column[1:] for name, column in times.items()}


def time_turn(work: Callable[[], Any], steps: int, grads: list[Tensor]) -> float:
    """Milliseconds of a step, the mean of several in a row."""
    for g in grads:
        g.fill_(GRADIENT)
    wait = torch.cuda.synchronize if grads[0].is_cuda else _nothing
    wait()
    start = perf_counter()
    for _ in range(steps):
        work()
    wait()
    return 1000 * (perf_counter() - start) / steps


def _nothing() -> None:
    """A CPU has finished when a call returns."""


def find_fastest(times: Times) -> str:
    """Finds torch's own path that has the lowest median."""
    return min((path for path in PATHS if path in times), key=lambda path: median(times[path]))


def compute_ratios(times: Times) -> dict[str, float]:
    """Computes the ratios that can be had, by their names in `RATIOS`."""
    pairs = {driver: (f"ours {driver}", find_fastest(times)) for driver in OURS}
    pairs["default/default"] = "ours default", "torch default"
    pairs["fused/fused"] = "ours compiled", "torch fused"
    pairs["compiled/copy"] = "ours compiled", "copy"
    return {
        name: median(map(truediv, times[a], times[b]))
        for name, (a, b) in pairs.items()
        if a in times and b in times
    }


def device_name(device: str) -> str:
    """The name that the processor gives itself."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    facts = Path("/proc/cpuinfo")  # Linux alone has it
    lines = facts.read_text().splitlines() if facts.exists() else []
    named = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
