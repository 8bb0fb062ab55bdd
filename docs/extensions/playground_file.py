"""The playground in the built site, as playground.html beside the first page."""

from pathlib import Path

from sphinx.application import Sphinx

from scratchopt.playground.page import render_page


def write_playground(app: Sphinx, error: Exception | None) -> None:
    """Writes the file once the pages are built."""
    if error is None and app.builder.format == "html":
        Path(app.outdir, "playground.html").write_text(render_page(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", write_playground)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
