"""Links of public names: where a text has one in backquotes it leads to its description."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from docutils import nodes
from public_names import public_names
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

MODULES = ("scratchopt", "scratchopt.lightning", "scratchopt.zero", "scratchopt.schedules")
MODULES += ("scratchopt.notebook", "scratchopt.problems.functions", "scratchopt.problems.descent")
MODULES += ("scratchopt.batches", "scratchopt.objective", "scratchopt.ranges")


class NameLinks(SphinxTransform):
    """Makes links of the public names between backquotes: of `NAG`, not of `memory`, a word.

    The first in each paragraph is one, but for a name in its own description.
    """

    default_priority = 210  # after all is parsed

    def apply(self, **_: Any) -> None:
        linked: set[tuple[int, str | None]] = set()
        for node in list(self.document.findall(nodes.literal)):
            target = targets().get(node.astext().removesuffix("()"))
            above = list(ancestors(node))
            here = id(node.parent), target
            if target is None or here in linked or any(isinstance(one, NO_LINKS) for one in above):
                continue
            if any(isinstance(one, addnodes.desc) and describes(one, target) for one in above):
                continue
            linked.add(here)
            link = addnodes.pending_xref(
                "",
                node.deepcopy(),
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refdoc=self.env.docname,
                refexplicit=True,
                refwarn=True,
            )
            node.parent.replace(node, link)


NO_LINKS = (nodes.reference, addnodes.pending_xref, nodes.title, addnodes.desc_signature)


def describes(description: addnodes.desc, target: str) -> bool:
    """Tells whether a name's description is this one."""
    signatures = description.findall(addnodes.desc_signature)
    return any(target in signature["ids"] for signature in signatures)


def ancestors(node: nodes.Node) -> Iterator[nodes.Element]:
    """The nodes that a node lies in, from within."""
    while (above := node.parent) is not None:
        yield above
        node = above


@cache
def targets() -> dict[str, str]:
    """The public names by what they are called in a text."""
    found: dict[str, list[str]] = {}
    for module in MODULES:
        for name in public_names(module):
            full = f"{module}.{name}"
            found.setdefault(full, []).append(full)
            if not name.islower():
                found.setdefault(name, []).append(full)
    return {name: full[0] for name, full in found.items() if len(full) == 1}


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(NameLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
