"""The tags that callbacks log: the directive `tags` makes a table of them, from docstrings."""

import inspect
import re
from importlib import import_module

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Tags(SphinxDirective):
    """A table of the tags that callbacks log, from their docstrings."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        rows = ["| | logged by |", "|---|---|"]
        for target in self.arguments[0].split():
            module, _, name = target.rpartition(".")
            text = inspect.getdoc(getattr(import_module(module), name)) or ""
            for entry in re.findall(r"^`train/(?:.+\n)+?(?=\n|`train/)", text, re.MULTILINE):
                rows.append(f"| {' '.join(entry.split())} | `{name}` |")
        return self.parse_text_to_nodes("\n".join(rows) + "\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("tags", Tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
