"""Benchmarks: how long things take, as ratios to the least that the same work could cost.

    python scripts/bench.py            # all below
    python scripts/bench.py start      # a toy run, against a script that only imports
    python scripts/bench.py mnist      # a training step with all logging, against a bare loop,
                                       # and where the rest goes
    python scripts/bench.py monitor    # the same step with OptimizerMonitor, and without
    python scripts/bench.py zero       # a step of two processes that share by the stages of ZeRO,
                                       # against torch's DDP and FSDP2
    python scripts/bench.py step       # an optimizer's step, against torch's and a copy of memory
    python scripts/bench.py memory     # what saves memory in a step of a transformer, and its time

All sides run in turn, A B A B, so that a machine that slows down slows all; a ratio is the
median over the turns. Other programs must rest meanwhile. On two idle cores `step` takes about
seven minutes, and 13 GB for gpt2-small; `mnist` takes two to three, `zero` one.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TextIO

from scratchopt.bench.step_cases import METHODS, SIZES
from scratchopt.bench.train_times import time_imports, time_toy_run
from scratchopt.cli.parser import Parser
from scratchopt.cli.streams import guard_streams

STEP_OPTIONS = "device", "sizes", "methods", "rounds", "csv"
USED = {"all": (*STEP_OPTIONS, "pairs"), "step": STEP_OPTIONS, "zero": ("pairs", "figure")}
COLUMNS = "{:<31}{:>12}{:>12}{:>9}{:>18}"
MEMORY = "{:<38}{:>9}{:>13}{:>9}{:>9}{:>18}{:>13}"


def main() -> None:
    """Measures what the command line asks for, and prints tables."""
    guard_streams()
    parser = _parser()
    arguments = parser.parse_args()
    what = arguments.what
    for name in (*STEP_OPTIONS, "pairs", "figure"):
        if getattr(arguments, name) is not None and name not in USED.get(what, ("pairs",)):
            parser.error(f"argument --{name}: {what} has no use for it")
    if arguments.figure and arguments.pairs:
        parser.error("argument --pairs: --figure has no use for it")
    if arguments.device == "cuda" and not _has_cuda():
        parser.error("argument --device: cuda: torch finds no CUDA device here")
    try:
        table = _open_table(arguments.csv)
    except OSError as error:
        parser.error(f"argument --csv: {arguments.csv}: {error.strerror}")
    if arguments.figure:
        draw_record(arguments.figure)
        return
    pairs = arguments.pairs or 7
    if what not in ("step", "memory", "zero"):
        print(COLUMNS.format("", "ours", "least", "ratio", "(min to max)"))
    if what in ("all", "start"):
        compare_times("toy run, s", time_toy_run, time_imports, pairs)
    if what in ("all", "mnist"):
        account_for_mnist(pairs)
    if what in ("all", "monitor"):
        compare_monitors(5 * pairs)
    if what in ("all", "memory"):
        tabulate_memory(pairs)
    if what in ("all", "zero"):
        compare_stages(pairs)
    if what in ("all", "step"):
        from scratchopt.bench.step_times import tabulate  # imports torch

        sizes, methods = arguments.sizes or SIZES, arguments.methods or METHODS
        with table as file:
            try:
                tabulate(sizes, methods, arguments.device or "cpu", arguments.rounds, file)
            except RuntimeError as error:  # no compiler, no memory
                sys.exit(f"bench.py: {' '.join(str(error).split())}")


def _parser() -> Parser:
    parser = Parser(__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        choices=["all", "start", "mnist", "monitor", "memory", "zero", "step"],
        default="all",
    )
    runs = parser.add_argument_group("start, mnist, monitor, memory and zero")
    runs.add_argument("--pairs", type=_positive_integer, help="runs of each side (default 7)")
    zero = parser.add_argument_group("zero")
    zero.add_argument(
        "--figure",
        metavar="FILE",
        type=_picture,
        help="draw what each process holds at each moment of a step there, and time nothing",
    )
    step = parser.add_argument_group("step")
    step.add_argument("--device", choices=["cpu", "cuda"], help="default cpu")
    step.add_argument("--sizes", nargs="+", choices=SIZES, help="default all")
    step.add_argument("--methods", nargs="+", choices=METHODS, help="default all")
    step.add_argument("--rounds", type=_positive_integer, help="default by size, 5 to 51")
    step.add_argument("--csv", metavar="FILE", help="write the numbers there too")
    return parser


def _open_table(path: str | None) -> AbstractContextManager[TextIO | None]:
    return open(path, "w", newline="") if path else nullcontext()


def _has_cuda() -> bool:
    from torch import cuda

    return cuda.is_available()


def _positive_integer(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be an integer >= 1")
    return int(text)


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError(f"{text}: must end in .png, .svg or .pdf")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: No such folder: {path.parent}")
    return path


def compare_times(
    name: str, ours: Callable[[], float], least: Callable[[], float], pairs: int
) -> None:
    """Times two sides in turn, after one uncounted run of each, and prints a row."""
    _ = ours(), least()
    print_row(name, [(ours(), least()) for _ in range(pairs)])


def print_row(name: str, times: list[tuple[float, float]]) -> None:
    """Prints the medians of both sides, ours first, and of the ratios."""
    ratios = [a / b for a, b in times]
    a, b = (median(column) for column in zip(*times, strict=True))
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    row = name, f"{a:.3f}", f"{b:.3f}", f"{median(ratios):.2f}", spread
    print(COLUMNS.format(*row), flush=True)


def account_for_mnist(rounds: int) -> None:
    """Times epochs of training in turn, and prints rows: the whole, then part after part."""
    from scratchopt.bench.mnist_times import BARE, WHOLE, time_mnist  # imports torch

    times, parts = time_mnist(rounds)
    whole, bare = times.pop(WHOLE), times.pop(BARE)
    pairs = list(zip(whole, bare, strict=True))
    print_row(f"{WHOLE}, ms", [(ours.wall, least.wall) for ours, least in pairs])
    print_row(f"{WHOLE}, CPU ms", [(ours.cpu, least.cpu) for ours, least in pairs])
    for name, side in times.items():
        pairs = zip(side, bare, strict=True)
        print_row(f"  {name}", [(ours.cpu, least.cpu) for ours, least in pairs])
    least = median(time.cpu for time in bare)
    for name, microseconds in sorted(parts.items(), key=lambda part: -part[1]):
        row = f"  of it {name}", f"{microseconds / 1000:.3f}", f"{least:.3f}"
        print(COLUMNS.format(*row, f"{microseconds / 1000 / least:.3f}", ""), flush=True)


def compare_monitors(rounds: int) -> None:
    """Times blocks of 50 steps in turn, with and without OptimizerMonitor, and prints two rows."""
    from scratchopt.bench.monitor_times import time_monitors  # imports torch

    with tempfile.TemporaryDirectory() as directory:
        times = time_monitors(rounds, Path(directory))
    for name in ("default", "every step"):
        print_row(f"monitor, {name}, ms", list(zip(times[name], times["none"], strict=False)))


def tabulate_memory(rounds: int) -> None:
    """Measures ways to make a step with less memory, and prints a row of each.

    Bytes are measured in a new process, so that nothing was allocated before.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler tells that it begins
    from scratchopt.bench.memory_cases import WAYS, measure_bytes, time_steps  # imports torch

    print(MEMORY.format("", "peak MB", "between MB", "CPU ms", "ratio", "(min to max)", "|Δ loss|"))
    costs = time_steps(WAYS, rounds)
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for (name, cost), found in zip(
            costs.items(), pool.imap(measure_bytes, WAYS.values()), strict=True
        ):
            most, between = (f"{number / 1e6:.1f}" for number in found)
            spread = f"({min(cost.ratios):.2f} to {max(cost.ratios):.2f})"
            numbers = f"{1000 * cost.seconds:.0f}", f"{median(cost.ratios):.2f}", spread
            row = MEMORY.format(name, most, between, *numbers, f"{cost.difference:.1g}")
            print(row, flush=True)


def compare_stages(rounds: int) -> None:
    """Times steps of two processes in turn, and prints a row for each of ours and torch's."""
    from scratchopt.bench.zero_times import SIZES, time_stages  # imports torch

    print(COLUMNS.format("", "ours", "torch's", "ratio", "(min to max)"), flush=True)
    pairs = [(ours, "DDP") for ours in ("DataParallel", "Stage1", "Stage2")] + [("Stage3", "FSDP2")]
    for size in SIZES:
        times = time_stages(size, rounds)
        print(f"{size}, ms")
        for ours, torchs in pairs:
            print_row(f"  {ours} / {torchs}", list(zip(times[ours], times[torchs], strict=True)))


def draw_record(path: Path) -> None:
    """Records a step of two processes by each stage of ZeRO, and draws who holds what in it."""
    from scratchopt.bench.zero_figure import draw_stages
    from scratchopt.bench.zero_record import record_stages  # imports torch
    from scratchopt.pictures.style import house_style

    figure = draw_stages(record_stages())
    with house_style():
        figure.savefig(path)
    print(path)
