"""How long it takes: ratios against the least that the same work could cost, from one run.

    python scripts/bench.py            # both below
    python scripts/bench.py start      # a toy run, against a script that only imports
    python scripts/bench.py mnist      # a training step with all logging, against a bare loop

Both sides run in turn, A B A B, so that a machine that slows down slows both; a ratio is the
median over the pairs.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the packages of this checkout

TRAIN = Path(__file__).with_name("train.py")
IMPORTS = "import torch, lightning, hydra, tensorboard"
STEPS = 200, 1200  # of the two MNIST runs that are subtracted
COLUMNS = "{:<28}{:>12}{:>12}{:>9}{:>18}"


def main() -> None:
    """Measures what the command line asks for and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("what", nargs="?", choices=["all", "start", "mnist"], default="all")
    parser.add_argument("--pairs", type=int, default=7, help="runs of each side (default 7)")
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        parser.error(f"--pairs {arguments.pairs}: at least 1")
    print(COLUMNS.format("", "ours", "least", "ratio", "(min to max)"))
    if arguments.what in ("all", "start"):
        compare("toy run, s", toy_run, import_only, arguments.pairs)
    if arguments.what in ("all", "mnist"):
        compare("MNIST step, ms", mnist_run, mnist_loop, arguments.pairs)


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


def compare(name: str, ours: Callable[[], float], least: Callable[[], float], pairs: int) -> None:
    """Times two sides in turn, after one uncounted run of each, and prints a row."""
    _ = ours(), least()
    times = [(ours(), least()) for _ in range(pairs)]
    ratios = [a / b for a, b in times]
    a, b = (median(column) for column in zip(*times, strict=True))
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(COLUMNS.format(name, f"{a:.3f}", f"{b:.3f}", f"{median(ratios):.2f}", spread), flush=True)


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

    from scripts.result import Result
    from scripts.run import run
    from scripts.schema import validate

    seconds = []
    for steps in STEPS:
        conf = str(TRAIN.parents[1] / "conf")
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


if __name__ == "__main__":
    main()
