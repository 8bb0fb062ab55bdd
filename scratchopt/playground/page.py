"""The playground's page: one HTML file in which the methods run, and that fetches nothing."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scratchopt.pictures.style import PALETTE
from scratchopt.playground.describe import describe

FOLDER = Path(__file__).parent
# Each uses what stands in those before it.
SCRIPTS = (
    *("simulate", "stability", "setting", "address", "canvas", "marks", "shades", "ground"),
    *("landscape", "curve", "fit", "controls", "page", "choices", "readouts", "player"),
    *("hand", "opening"),
)


def render_page() -> str:
    """Renders the HTML of the playground, with the rules as they are in the source now."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    scripts = [(FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return environment.get_template("page.html.jinja").render(
        palette=PALETTE,
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        scripts=[describe(), *scripts],
    )
