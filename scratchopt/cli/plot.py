"""Draws recorded runs: what they have logged, their paths, and how they bear the lr.

Before the names of the pictures stands a table of what came of each run.

    python scripts/plot.py multirun/<time>               # into its figures/
    python scripts/plot.py outputs/toy/nag/<time>        # a single run
    python scripts/plot.py A B --output figures          # runs of several places
    python scripts/plot.py A --against seconds
    python scripts/plot.py A --rows 50                   # every 50th step in rows, no pictures

Runs that differ by the seed only are one line. Each picture is a PNG and an SVG.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scratchopt.cli.parser import Parser
from scratchopt.cli.streams import guard_streams
from scratchopt.config.fields import UserError
from scratchopt.plots.x_axis import X_AXES

if TYPE_CHECKING:
    from scratchopt.runs.directory import Run


def main() -> None:
    """Does what the command line asks for."""
    guard_streams()
    parser = Parser(__doc__)
    parser.add_argument("runs", nargs="+", help="directories of runs or sweeps")
    parser.add_argument("--output", help="directory of the pictures (default <runs>/figures)")
    parser.add_argument("--against", choices=X_AXES, default="steps", help="what the x axis counts")
    parser.add_argument("--rows", type=int, metavar="N", help="print every Nth step, draw nothing")
    arguments = parser.parse_args()
    if arguments.rows is not None:
        if arguments.rows < 1:
            parser.error(f"argument --rows: {arguments.rows}: must be an integer >= 1")
        if arguments.output:
            parser.error("argument --output: --rows draws no pictures; leave one of them out")
    elif len(arguments.runs) > 1 and not arguments.output:
        parser.error("argument --output: say where, if runs of several places are drawn together")
    output = Path(arguments.output or Path(arguments.runs[0], "figures"))
    try:
        from scratchopt.runs.directory import find_runs

        runs = find_runs(arguments.runs)
        if arguments.rows:
            print_steps(runs, arguments.rows)
            return
        from scratchopt.plots.gallery import write_gallery  # imports torch

        paths = list(write_gallery(runs, output, arguments.against))
    except UserError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{output}: {error.strerror}")
    print_outcomes(runs)
    print("", *paths, sep="\n")


def print_outcomes(runs: "Sequence[Run]") -> None:
    """Prints a table of what came of each run, and notes on it."""
    from scratchopt.plots.tables import outcome_notes, outcome_table

    print(outcome_table(runs))
    if notes := outcome_notes(runs):
        print("", *notes, sep="\n")


def print_steps(runs: "Sequence[Run]", every: int) -> None:
    """Prints what came of each run, and every so many of its steps in rows."""
    from scratchopt.plots.tables import step_table
    from scratchopt.runs.directory import label_runs

    print_outcomes(runs)
    for run, label in zip(runs, label_runs(runs), strict=True):
        print(f"\n{label}\n{step_table(run, every)}")
