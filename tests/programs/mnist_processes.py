"""MNIST on one process and on two with half a batch each: losses step by step.

`python -m tests.programs.mnist_processes` prints, for every optimizer, how far they are apart.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import torch

from scratchopt.runs.result import Result, hyperparameters
from scratchopt.runs.training import run
from tests.shared.configs import config
from tests.shared.paths import OPTIMIZERS
from tests.shared.two_processes import run_by_two

STEPS, BATCH = 40, 128
TOLERANCE = 1e-9  # relative, of every loss: float64, summed in another order
# A Hessian that is small enough to be whole, of 805 parameters.
SMALL_NEWTON = [
    *("task.hidden=[1]", "optimizer.damping=1.0", "optimizer.solver=dense"),
    *("optimizer.curvature=hessian", "optimizer.adapt_damping=false"),
]
# The gradients of MNIST have a low rank, and in what they leave out rounding chooses SOAP's basis:
# of these sides, only that of the ten classes has a basis of its own.
OWN = {"newton": SMALL_NEWTON, "soap": ["optimizer.max_precond_dim=10"]}


def losses(processes: int) -> dict[str, list[float]]:
    """The loss of every step, by optimizer."""
    with tempfile.TemporaryDirectory() as folder:
        run_by_two("tests.programs.mnist_processes", folder, processes=processes)
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
            *("test=false", "figures=false"),  # the losses are looked at alone
            *OWN.get(name, []),
        ]
        asked = config(*overrides)
        run(asked, Result("mnist", name, hyperparameters(asked), 0), folder / name)
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
