"""MNIST on one process and on two with half a batch each: losses step by step.

`python -m tests.programs.mnist_processes` prints, for every optimizer, how far they are apart.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from scratchopt.config.schema import validate
from scratchopt.runs.result import Result, hyperparameters
from scratchopt.runs.training import run
from tests.shared.two_processes import ROOT, TORCHRUN

STEPS, BATCH = 100, 128
TOLERANCE = 1e-9  # relative, of every loss: float64, summed in another order
# A Hessian that is small enough to be whole, of 805 parameters.
SMALL_NEWTON = [
    *("task.hidden=[1]", "optimizer.damping=1.0", "optimizer.solver=dense"),
    *("optimizer.curvature=hessian", "optimizer.adapt_damping=false"),
]
OPTIMIZERS = sorted(path.stem for path in (ROOT / "conf" / "optimizer").glob("*.yaml"))


def losses(processes: int) -> dict[str, list[float]]:
    """The loss of every step, by optimizer."""
    with tempfile.TemporaryDirectory() as folder:
        module = ["-m", "tests.programs.mnist_processes", folder]
        subprocess.run(
            [*TORCHRUN, f"--nproc-per-node={processes}", *module],
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=280,
        )
        return json.loads(Path(folder, "losses.json").read_text())


def distances() -> dict[str, float]:
    """The greatest relative difference of two losses, by optimizer."""
    one, two = losses(1), losses(2)
    return {
        name: max(abs(a - b) / abs(a) for a, b in zip(one[name], two[name], strict=True))
        for name in one
    }


def _process(folder: Path) -> None:
    """One process of one or two."""
    torch.set_num_threads(1)
    processes = int(os.environ["WORLD_SIZE"])
    came = {}
    for name in OPTIMIZERS:
        overrides = [
            *("task=mnist", f"task.batch_size={BATCH // processes}", f"optimizer={name}"),
            *("accelerator=ddp", f"accelerator.devices={processes}", "accelerator.accelerator=cpu"),
            *(f"max_steps={STEPS}", "max_epochs=1", "accelerator.precision=64-true"),
            *(SMALL_NEWTON if name == "newton" else []),
        ]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = validate(compose("train", overrides))
        run(config, Result("mnist", name, hyperparameters(config), 0), folder / name)
        saved = torch.load(folder / name / "checkpoints" / "last.ckpt", weights_only=True)
        came[name] = saved["callbacks"]["OptimizerMonitor"]["values"]["train/loss"].tolist()
        assert len(came[name]) == STEPS
    (folder / "losses.json").write_text(json.dumps(came))


if __name__ == "__main__":
    if sys.argv[1:]:
        _process(Path(sys.argv[1]))
    else:
        for optimizer, distance in distances().items():
            print(f"{optimizer}: {distance:.1e} of the loss at most, in {STEPS} steps")
