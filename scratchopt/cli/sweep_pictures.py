"""The pictures of a sweep, which are drawn of all its runs together when it ends."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from scratchopt.config.messages import one_line
from scratchopt.config.paths import absolute_path, to_paste
from scratchopt.runs.directory import Run


def choose_output(config: DictConfig) -> Path:
    """Chooses the folder for a sweep's pictures: that of the sweep, in a store one of its own."""
    output = absolute_path(str(config.hydra.sweep.dir)) / "figures"
    if config.get("store"):
        return output / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    return output


def draw_sweep(runs: Sequence[Run], output: Path | None) -> None:
    """Draws the runs of a sweep together, those of each task apart, and says where.

    Pictures that cannot be drawn are a warning: nothing is lost, and plot.py can draw them later.

    Args:
        runs: with a result.
        output: the folder for the pictures, in which each of several tasks has one; None, if none
            are wanted.
    """
    if output is None:
        return
    for task in dict.fromkeys(run.task for run in runs):
        own = [run for run in runs if run.task == task]
        folder = output / task if len(own) < len(runs) else output
        try:
            from scratchopt.plots.gallery import write_gallery

            names = dict.fromkeys(path.stem for path in write_gallery(own, folder))
        except Exception as error:
            words = one_line(error)
            print(f"train.py: the sweep's pictures were not drawn: {words}", file=sys.stderr)
        else:
            together = f"{len(own)} runs drawn together" if len(own) > 1 else "1 run drawn"
            print(f"\n{together} in {to_paste(folder)}: {', '.join(names)}")
