"""The sharpness of recorded runs, side by side, in one picture.

    python scripts/sharpness.py multirun/<time> edge.png

Each run is a column: sharpness and limit of stability, loss, and the decreases of the loss. The
runs are those in the directories given that were trained with sharpness_every=<steps>.
docs/edge_of_stability.md explains what is to be seen.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

sys.path.pop(0)  # scripts/ itself
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the packages of this checkout


def main() -> None:
    """Does what the command line asks for."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="+", help="of runs")
    parser.add_argument("picture", help="the file to write, .png or .svg")
    arguments = parser.parse_args()
    if Path(arguments.picture).suffix not in (".png", ".svg"):
        parser.error(f"argument picture: {arguments.picture}: must end in .png or .svg")
    from scratchopt.lightning.sharpness_figure import sharpness_figures  # imports torch
    from scripts.fields import Refusal
    from scripts.recorded import labels, runs_in

    try:
        runs = runs_in(arguments.directory)
        names = [_title(run) for run in runs]
        names = names if len(set(names)) == len(names) else labels(runs)
        drawn = sharpness_figures(
            {name: run.history for name, run in zip(names, runs, strict=True)}
        )
        if not drawn:
            given = " ".join(arguments.directory)
            raise Refusal(f"{given}: no run measured its sharpness; train with sharpness_every=10")
        drawn["sharpness"].savefig(arguments.picture)
    except Refusal as refusal:
        parser.error(str(refusal))
    except OSError as error:
        parser.error(f"argument picture: {arguments.picture}: {error.strerror}")
    print(arguments.picture)


def _title(run: Any) -> str:
    """The optimizer, with what decides its limit."""
    settings = run.config["optimizer"]
    decisive = [f"{key} {settings[key]}" for key in ("lr", "momentum", "betas") if key in settings]
    return ", ".join([run.optimizer, *decisive])


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


if __name__ == "__main__":
    main()
