"""The time of a whole run, beside the least that it could cost."""

import subprocess
import sys
import tempfile
import time
from typing import Any

from scratchopt.config.checkout import CHECKOUT, CONF

TRAIN = CHECKOUT / "scripts" / "train.py"
IMPORTS = "import torch, lightning, hydra, tensorboard"


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


def _seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start
