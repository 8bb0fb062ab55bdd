"""The times of a whole run and of a training step, each beside the least that it could cost."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scratchopt.config.checkout import CHECKOUT, CONF

TRAIN = CHECKOUT / "scripts" / "train.py"
IMPORTS = "import torch, lightning, hydra, tensorboard"
STEPS = 200, 1200  # of the two MNIST runs that are subtracted


def compose_config(*overrides: str) -> dict[str, Any]:
    """Composes a run's configuration, as train.py does; by default it is MNIST with NAG."""
    from hydra import compose, initialize_config_dir

    from scratchopt.config.schema import validate

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return validate(compose("train", list(overrides)))


def time_toy_run() -> float:
    """Times a whole toy run, in seconds: 34 steps, logs, checkpoint, figures."""
    with tempfile.TemporaryDirectory() as directory:
        return _seconds([str(TRAIN), "task=toy", "optimizer=nag", f"hydra.run.dir={directory}"])


def time_imports() -> float:
    """Times a script that imports the libraries and exits, in seconds."""
    return _seconds(["-c", IMPORTS])


def time_mnist_run() -> float:
    """Times a training step of `train.py optimizer=nag`, in milliseconds, with logs and validation.

    Two runs of different lengths are subtracted, so that what a run costs once drops out.
    """
    from scratchopt.runs.result import Result
    from scratchopt.runs.training import run

    seconds = []
    for steps in STEPS:
        config = compose_config(f"max_steps={steps}", "max_epochs=-1")
        with tempfile.TemporaryDirectory() as directory:
            result = Result("mnist", "nag", {}, seed=0)
            run(config, result, Path(directory))
            seconds.append(result.seconds)
    return 1000 * (seconds[1] - seconds[0]) / (STEPS[1] - STEPS[0])


def time_mnist_loop() -> float:
    """Times the same step in a loop written by hand, with nothing else in it, in milliseconds."""
    import torch
    from torch.nn.functional import cross_entropy

    from scratchopt.runs.instantiation import make_task

    config = compose_config()
    torch.manual_seed(0)
    task: Any = make_task(config)
    task.setup("fit")
    optimizer = task.configure_optimizers()
    images, labels = task.train_set
    size = config["task"]["batch_size"]
    start = time.perf_counter()
    epochs = -(-STEPS[1] // (len(images) // size))
    batches = [b for _ in range(epochs) for b in torch.randperm(len(images)).split(size)]
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
