"""The tutorial's chapters: executed when the site is built, and in it as notebooks too."""

import logging
from pathlib import Path
from typing import Any

from docutils import nodes
from jupyter_client.manager import KernelManager
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

FOLDER = "jupyter_execute"


def configure(app: Sphinx) -> None:
    """Puts the executed notebooks into the site; MyST-NB would put them beside it."""
    config: Any = app.env.mystnb_config  # pyright: ignore[reportAttributeAccessIssue]
    folder = str(Path(app.outdir, FOLDER))
    app.env.mystnb_config = config.copy(output_folder=folder)  # pyright: ignore


class Download(SphinxTransform):
    """Ends a chapter with a link to its notebook."""

    default_priority = 900

    def apply(self, **_: Any) -> None:
        docname = self.env.docname
        if "kernelspec" not in self.env.metadata[docname]:
            return
        uri = self.app.builder.get_relative_uri(docname, "").removesuffix(".html")
        link = nodes.reference("", "this chapter", refuri=f"{uri}{FOLDER}/{docname}.ipynb")
        last = next(reversed(list(self.document.findall(nodes.section))))
        last += nodes.paragraph(
            "", "", nodes.Text("Download "), link, nodes.Text(" as a notebook.")
        )


def setup(app: Sphinx) -> dict[str, bool]:
    # A kernel that could encrypt its messages, and is not asked to, warns of it in the pages.
    if encryption := getattr(KernelManager, "transport_encryption", None):
        encryption.default_value = "auto"
    logging.getLogger("traitlets").setLevel(logging.WARNING)
    app.connect("builder-inited", configure)
    app.add_transform(Download)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
