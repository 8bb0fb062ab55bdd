"""Draws recorded runs: what they have logged, their paths, and how they bear the lr.

    python scripts/plot.py multirun/<time>               # into its figures/
    python scripts/plot.py outputs/toy/nag/<time>        # a single run
    python scripts/plot.py A B --output figures          # runs of several places
    python scripts/plot.py A --against seconds

Runs that differ by the seed only are one line. Each picture is a PNG and an SVG.
"""

from pathlib import Path

from scratchopt.cli.parser import Parser
from scratchopt.config.fields import UserError
from scratchopt.plots.x_axis import X_AXES


def main() -> None:
    """Does what the command line asks for."""
    parser = Parser(__doc__)
    parser.add_argument("runs", nargs="+", help="directories of runs or sweeps")
    parser.add_argument("--output", help="directory of the pictures (default <runs>/figures)")
    parser.add_argument("--against", choices=X_AXES, default="steps", help="what the x axis counts")
    arguments = parser.parse_args()
    if len(arguments.runs) > 1 and not arguments.output:
        parser.error("argument --output: say where, if runs of several places are drawn together")
    output = Path(arguments.output or Path(arguments.runs[0], "figures"))
    try:
        from scratchopt.runs.directory import find_runs

        runs = find_runs(arguments.runs)
        from scratchopt.plots.gallery import write_gallery  # imports torch

        for path in write_gallery(runs, output, arguments.against):
            print(path)
    except UserError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{output}: {error.strerror}")
