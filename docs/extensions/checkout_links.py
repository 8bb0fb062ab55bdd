"""Links from the pages into the checkout, as GitHub follows them, lead to pages of the site.

What is linked outside of docs/ is a page that includes it, or a page of its highlighted source.
A file's name in backquotes, such as `scratchopt/nag.py`, is a link as well.
"""

import os
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.transforms import SphinxTransform

from scratchopt.config.checkout import CHECKOUT

DOCS = CHECKOUT / "docs"
PAGES = {"README.md": "index", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
LANGUAGES = {".py": "python", ".js": "javascript", ".jinja": "html+jinja", ".md": "markdown"}
LANGUAGES |= {".yaml": "yaml", ".toml": "toml", ".csv": "text", "": "bash"}  # .ci/run
SOURCE = re.compile(r"(?:\.\./)*source/(.+)\.html")


class CheckoutLinks(SphinxTransform):
    """Replaces links to files of the checkout, and their names in backquotes."""

    default_priority = 100  # before Sphinx collects what is linked as files to download

    def apply(self, **_: Any) -> None:
        links = [
            *self.document.findall(addnodes.download_reference),
            *self.document.findall(addnodes.pending_xref),
        ]
        for link in links:
            if link["reftype"] == "myst" and (path := self.find_path(link["reftarget"])):
                self.replace(link, path, link.children)
        for node in list(self.document.findall(nodes.literal)):
            in_link = isinstance(node.parent, (nodes.reference, addnodes.pending_xref))
            if "/" in node.astext() and not in_link:
                path = CHECKOUT / node.astext()
                if path.is_file() and path.suffix in LANGUAGES:
                    self.replace(node, path, [node.deepcopy()])

    def find_path(self, target: str) -> Path | None:
        """Finds the file that a page links to, if it is outside of docs/."""
        document = Path(self.env.doc2path(self.env.docname))
        # The pages that include a file of the checkout have its links, relative to the checkout.
        folder = CHECKOUT if self.env.docname in PAGES.values() else document.parent
        for start in (folder, document.parent):
            for name in (target, f"{target}.md"):  # MyST has cut off the end of a page's name
                path = Path(os.path.normpath(start / name))
                if path.is_file() and not path.is_relative_to(DOCS):
                    return path
        return None

    def replace(self, node: nodes.Node, path: Path, label: Sequence[nodes.Node]) -> None:
        """Puts a link to a file's page in the place of a node."""
        name = path.relative_to(CHECKOUT).as_posix()
        if path.is_relative_to(DOCS) and path.suffix == ".md":
            page = path.relative_to(DOCS).with_suffix("").as_posix()
        else:
            page = PAGES.get(name, f"source/{name}")
        uri = self.app.builder.get_relative_uri(self.env.docname, page)
        node.parent.replace(node, nodes.reference("", "", *label, refuri=uri, internal=True))


def write_source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Writes the page of each file that a page links to."""
    names = {
        found[1]
        for docname in app.env.found_docs
        for link in app.env.get_doctree(docname).findall(nodes.reference)
        if (found := SOURCE.match(link.get("refuri", "")))
    }
    assert isinstance(app.builder, StandaloneHTMLBuilder)
    for name in sorted(names):
        path = CHECKOUT / name
        code = app.builder.highlighter.highlight_block(
            path.read_text(encoding="utf-8"),
            LANGUAGES[path.suffix],
            linenos="inline",
            lineanchors="L",
        )
        title = escape(name)
        yield f"source/{name}", {"title": title, "body": f"<h1>{title}</h1>{code}"}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(CheckoutLinks)
    app.connect("html-collect-pages", write_source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
