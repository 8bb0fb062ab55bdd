"""How long it takes: ratios against the least that the same work could cost, from one run.

    python scripts/bench.py            # all below
    python scripts/bench.py start      # a toy run, against a script that only imports
    python scripts/bench.py mnist      # a training step with all logging, against a bare loop
    python scripts/bench.py monitor    # the same step with OptimizerMonitor, and without
    python scripts/bench.py step       # an optimizer's step, against torch's and a copy of memory

All sides run in turn, A B A B, so that a machine that slows down slows all; a ratio is the
median over the turns. `step` takes about seven minutes on two idle cores, and 13 GB for gpt2-small.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any, TextIO

from scratchopt.bench.step_cases import METHODS, SIZES
from scratchopt.cli.parser import Parser
from scratchopt.config.checkout import CHECKOUT, CONF

TRAIN = CHECKOUT / "scripts" / "train.py"
IMPORTS = "import torch, lightning, hydra, tensorboard"
STEPS = 200, 1200  # of the two MNIST runs that are subtracted
STEP_OPTIONS = "device", "sizes", "methods", "rounds", "csv"
COLUMNS = "{:<28}{:>12}{:>12}{:>9}{:>18}"


def main() -> None:
    """Measures what the command line asks for and prints tables."""
    parser = _parser()
    arguments = parser.parse_args()
    what = arguments.what
    for name in {"all": (), "step": ("pairs",)}.get(what, STEP_OPTIONS):
        if getattr(arguments, name) is not None:
            parser.error(f"argument --{name}: {what} has no use for it")
    if arguments.device == "cuda" and not _has_cuda():
        parser.error("argument --device: cuda: torch finds no CUDA device here")
    try:
        table = _written(arguments.csv)
    except OSError as error:
        parser.error(f"argument --csv: {arguments.csv}: {error.strerror}")
    pairs = arguments.pairs or 7
    if what != "step":
        print(COLUMNS.format("", "ours", "least", "ratio", "(min to max)"))
    if what in ("all", "start"):
        compare("toy run, s", toy_run, import_only, pairs)
    if what in ("all", "mnist"):
        compare("MNIST step, ms", mnist_run, mnist_loop, pairs)
    if what in ("all", "monitor"):
        compare_monitors(5 * pairs)
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
        "what", nargs="?", choices=["all", "start", "mnist", "monitor", "step"], default="all"
    )
    runs = parser.add_argument_group("start, mnist and monitor")
    runs.add_argument("--pairs", type=_count, help="runs of each side (default 7)")
    step = parser.add_argument_group("step")
    step.add_argument("--device", choices=["cpu", "cuda"], help="default cpu")
    step.add_argument("--sizes", nargs="+", choices=SIZES, help="default all")
    step.add_argument("--methods", nargs="+", choices=METHODS, help="default all")
    step.add_argument("--rounds", type=_count, help="default by size, 5 to 51")
    step.add_argument("--csv", metavar="FILE", help="write the numbers there too")
    return parser


def _written(path: str | None) -> AbstractContextManager[TextIO | None]:
    return open(path, "w", newline="") if path else nullcontext()


def _has_cuda() -> bool:
    from torch import cuda

    return cuda.is_available()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be an integer >= 1")
    return int(text)


def compare(name: str, ours: Callable[[], float], least: Callable[[], float], pairs: int) -> None:
    """Times two sides in turn, after one uncounted run of each, and prints a row."""
    _ = ours(), least()
    print_row(name, [(ours(), least()) for _ in range(pairs)])


def print_row(name: str, times: list[tuple[float, float]]) -> None:
    """Prints the medians of both sides, of ours first, and of the ratios."""
    ratios = [a / b for a, b in times]
    a, b = (median(column) for column in zip(*times, strict=True))
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    row = name, f"{a:.3f}", f"{b:.3f}", f"{median(ratios):.2f}", spread
    print(COLUMNS.format(*row), flush=True)


def compare_monitors(rounds: int) -> None:
    """Times blocks of 50 steps in turn, with and without OptimizerMonitor, and prints two rows."""
    from scratchopt.bench.monitor_times import monitor_times  # imports torch

    with tempfile.TemporaryDirectory() as directory:
        times = monitor_times(rounds, Path(directory))
    for name in ("default", "every step"):
        print_row(f"monitor, {name}, ms", list(zip(times[name], times["none"], strict=False)))


def toy_run() -> float:
    """Seconds of a whole toy run: 34 steps, logs, checkpoint, figures."""
    with tempfile.TemporaryDirectory() as directory:
        return _seconds([str(TRAIN), "task=toy", "optimizer=nag", f"hydra.run.dir={directory}"])


def import_only() -> float:
    """Seconds of a script that imports the libraries and exits."""
    return _seconds(["-c", IMPORTS])


def mnist_run() -> float:
    """Milliseconds of a training step of `train.py optimizer=nag`, logs and validation included.

    Two runs of different lengths are subtracted, so that what a run costs once drops out.
    """
    from hydra import compose, initialize_config_dir

    from scratchopt.config.schema import validate
    from scratchopt.runs.result import Result
    from scratchopt.runs.training import run

    seconds = []
    for steps in STEPS:
        conf = str(CONF)
        with (
            initialize_config_dir(conf, version_base="1.3"),
            tempfile.TemporaryDirectory() as directory,
        ):
            config = validate(compose("train", [f"max_steps={steps}", "max_epochs=-1"]))
            result = Result("mnist", "nag", {}, seed=0)
            run(config, result, Path(directory))
            seconds.append(result.seconds)
    return 1000 * (seconds[1] - seconds[0]) / (STEPS[1] - STEPS[0])


def mnist_loop() -> float:
    """Milliseconds of the same step in a loop written by hand, with nothing else in it."""
    import torch
    from torch.nn.functional import cross_entropy

    from scratchopt import NAG
    from tasks.mnist import MNIST

    torch.manual_seed(0)
    task = MNIST(lambda params: NAG(params, lr=0.03, momentum=0.9))
    task.setup("fit")
    optimizer = task.configure_optimizers()
    images, labels = task.train_set
    start = time.perf_counter()
    epochs = -(-STEPS[1] // (len(images) // 128))
    batches = [b for _ in range(epochs) for b in torch.randperm(len(images)).split(128)]
    for batch in batches[: STEPS[1]]:

        def closure(batch: Any = batch) -> Any:
            optimizer.zero_grad()
            loss = cross_entropy(task(images[batch]), labels[batch])
            loss.backward()
            return loss

        optimizer.step(closure)
    return 1000 * (time.perf_counter() - start) / STEPS[1]


def _seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start
