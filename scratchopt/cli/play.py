"""Playback of recorded runs, or a playground: one HTML file that needs nothing but a browser.

    python scripts/play.py outputs/toy/nag/<time> outputs/toy/momentum/<time>
    python scripts/play.py multirun/<time> --output race.html
    python scripts/play.py --live

A run is recorded as it is trained: one of up to 100 parameters always, a larger one with
record_every=20 or so. All runs of a page must minimize the same loss. The playground needs no runs:
the methods run in it, from where you drag them and with the settings that you turn.
"""

import sys
import warnings
from pathlib import Path
from typing import NoReturn

from scratchopt.atomic_write import atomic_write
from scratchopt.cli.parser import Parser
from scratchopt.cli.streams import guard_streams
from scratchopt.config.checkout import check_checkout
from scratchopt.config.fields import UserError

MOST = 16  # runs: more are not told apart, and the file grows with each


def main() -> None:
    """Writes the page, and says where."""
    guard_streams()
    parser = Parser(__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="directories of runs, or of sweeps")
    parser.add_argument("--live", action="store_true", help="write the playground instead")
    where = "playback.html, or playground.html"
    parser.add_argument("--output", default=None, metavar="FILE", help=where)
    trust = "make whatever the runs' files name, functions too"
    parser.add_argument("--trusted", action="store_true", help=trust)
    arguments = parser.parse_args()
    if arguments.live and arguments.runs:
        parser.error("--live writes the playground, which shows no recorded runs: give it none")
    if not (arguments.live or arguments.runs):
        parser.error("the following arguments are required: RUN, or --live for the playground")
    output = arguments.output or ("playground.html" if arguments.live else "playback.html")
    try:
        if arguments.live:
            print(play_live(Path(output)))
        else:
            print(play(arguments.runs, Path(output), arguments.trusted))
    except UserError as refusal:
        parser.error(str(refusal))
    except OSError as error:
        parser.error(f"argument --output: {output}: {error.strerror}")


def play_live(output: Path) -> str:
    """Writes the playground; returns what there is to say of it, in a line.

    Raises:
        UserError: no checkout or jinja2, or an output that is no file.
        OSError: a file that cannot be written.
    """
    check_checkout()
    _check_output(output)
    try:
        from scratchopt.playground.page import render_page
    except ModuleNotFoundError as error:
        _refuse_missing(error, "jinja2")
    with warnings.catch_warnings(record=True) as told:
        text = render_page()
    for warning in told:  # of methods that are left out
        print(f"play.py: {warning.message}", file=sys.stderr)
    atomic_write(output, text)
    return f"{output}  {len(text.encode()) / 1e6:.1f} MB"


def play(places: list[str], output: Path, trusted: bool = False) -> str:
    """Writes the page; returns what there is to say of it, in lines.

    Raises:
        UserError: runs that cannot be shown, or not together.
        OSError: a file that cannot be written.
    """
    _check_output(output)
    from scratchopt.runs.directory import find_runs

    runs = find_runs(places, trusted)
    if len(runs) > MOST:
        raise UserError(f"{len(runs)} runs: a page shows at most {MOST}; give fewer directories")
    from scratchopt.playback.recordings import read_recordings

    try:
        from scratchopt.playback.page import describe_plane, render_page
    except ModuleNotFoundError as error:
        _refuse_missing(error, "plotly", "contourpy", "tqdm", "jinja2")
    from scratchopt.playback.build_scene import build_scene

    scene = build_scene(read_recordings(runs))
    text = render_page(scene)
    atomic_write(output, text)
    return "\n".join([*describe_plane(scene), f"{output}  {len(text.encode()) / 1e6:.1f} MB"])


def _check_output(output: Path) -> None:
    if not output.parent.is_dir() or (output.exists() and not output.is_file()):
        raise UserError(f"--output {output}: must be a file in a directory that is there")


def _refuse_missing(error: ModuleNotFoundError, *optional: str) -> NoReturn:
    if error.name not in optional:
        raise error
    raise UserError(f'{error.name} is not installed: pip install -e ".[play]"') from error
