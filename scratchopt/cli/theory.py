"""Theory beside measurement, on quadratics: pictures, or the table of rates and limits.

    python scripts/theory.py             # four PNGs into outputs/theory; some ten seconds
    python scripts/theory.py pictures    # into another directory
    python scripts/theory.py --table     # the table, in Markdown, and no pictures

docs/explanation/theory.md explains both.
"""

from io import BytesIO
from pathlib import Path

from scratchopt.atomic_write import atomic_write
from scratchopt.cli.parser import Parser
from scratchopt.cli.streams import guard_streams


def main() -> None:
    """Does what the command line asks for."""
    guard_streams()
    parser = Parser(__doc__)
    parser.add_argument("directory", nargs="?", help="of the pictures (default outputs/theory)")
    parser.add_argument("--table", action="store_true", help="print the table instead")
    arguments = parser.parse_args()
    if arguments.table:
        if arguments.directory:
            parser.error(f"argument directory: {arguments.directory}: --table writes no files")
        from scratchopt.theory.table import make_table  # imports torch, as all below

        print(make_table())
        return
    directory = Path(arguments.directory or "outputs/theory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_figures(directory)
    except OSError as error:
        parser.error(f"argument directory: {directory}: {error.strerror}")


def write_figures(directory: Path) -> None:
    """Writes every picture into a directory that is there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from scratchopt.theory.figures import draw_figures

    for name, figure in draw_figures().items():
        content = BytesIO()
        FigureCanvasAgg(figure).print_png(content)
        path = directory / f"{name}.png"
        atomic_write(path, content.getvalue())
        print(path)
