"""The reference of a package's public names, from their docstrings.

The directive `public-names` documents all of them, in the order in which it lists them; a name
that is missing there, or is not public, is a warning. Our docstrings are plain text that can be
read in an editor: formulas are lines, names are in single backquotes. It becomes reStructuredText
here, in one place.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from checkout_links import CHECKOUT
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import signature, stringify_signature

from scratchopt.optimizer import Optimizer, Params

logger = logging.getLogger(__name__)

MODULES = ("scratchopt", "scratchopt.lightning", "scratchopt.zero")


def public_names(module: str) -> list[str]:
    """The public names of a module: its `__all__`, or what it defines itself."""
    content = import_module(module)
    if hasattr(content, "__all__"):
        return list(content.__all__)
    return [
        name
        for name, value in vars(content).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module
    ]


class PublicNames(SphinxDirective):
    """Documents the public names of a module, after a table of them."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module, listed = self.arguments[0], [line for line in self.content if line]
        names = public_names(module)
        for name in {*names} ^ {*(listed or names)}:
            where = "is not listed here" if name in names else "is not public"
            logger.warning(f"{module}.{name} {where}", location=self.get_location())
        table = [".. list-table::", "   :class: names", ""]
        text = []
        for name in listed or names:
            value = getattr(import_module(module), name)
            summary = restructure(summarize(module, name).replace("\n", " "))
            table += [f"   * - :py:obj:`~{module}.{name}`", f"     - {summary}"]
            members = ["   :members:"] if inspect.isclass(value) else []
            text += [f".. auto{kind_of(value)}:: {module}.{name}", *members, ""]
        return self.parse_text_to_nodes("\n".join([*table, "", *text]))


def kind_of(value: Any) -> str:
    """The kind of thing that a public name stands for, as autodoc calls it."""
    if not inspect.isclass(value):
        return "function" if callable(value) else "data"
    return "exception" if issubclass(value, BaseException) else "class"


def summarize(module: str, name: str) -> str:
    """The first paragraph of a name's docstring."""
    value = getattr(import_module(module), name)
    if callable(value):
        return (inspect.getdoc(value) or "").split("\n\n")[0]
    return ModuleAnalyzer.for_module(module).find_attr_docs()["", name][0]


def skip_member(
    app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out what a class has from a base of it, which says what it is for."""
    value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    function = inspect.unwrap(value)
    if not inspect.isfunction(function):
        return None
    cls = vars(sys.modules[function.__module__]).get(function.__qualname__.rpartition(".")[0])
    if not inspect.isclass(cls) or cls is Optimizer:
        return None
    return True if any(name in vars(base) for base in cls.__mro__[1:]) else None


def sign(
    app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: str, returned: str
) -> tuple[str, str] | None:
    """The signature of an optimizer's class is its constructor's, which torch has wrapped."""
    if not (inspect.isclass(value) and issubclass(value, Optimizer)):
        return None
    found = signature(value.__init__, bound_method=True)
    parameters = [
        one.replace(annotation="Params") if one.annotation == Params else one
        for one in found.parameters.values()
    ]
    found = found.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return stringify_signature(found, unqualified_typehints=True), ""


# Docstrings

FORMULA = re.compile(r"\S.* ← ")
LITERAL = re.compile(r"`+([^`]+)`+")
# What is markup in reStructuredText alone: |λ|, **options, name_.
MARKUP = re.compile(r"(?=\||\*\*)|(?<=\w)(?=_(?:\W|$))")
OPTION = re.compile(r"        (\w+: .*)")  # of an argument that is several, listed beneath it


def process_docstring(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Makes reStructuredText of a docstring, in place; a method's is followed by its rule."""
    first = lines[0]
    blocks = "\n".join(lines).split("\n\n")
    lines[:] = "\n\n".join(map(restructure, blocks)).split("\n")
    of_class = inspect.isclass(value) and (value.__doc__ or "").startswith(first)
    if of_class and issubclass(value, Optimizer) and "rule" in vars(value):
        code = indent(read_rule(value), "   ")
        lines += ["", ".. code-block:: python", "", *code.splitlines(), ""]


def restructure(block: str) -> str:
    """Makes reStructuredText of what lies between two blank lines of a docstring."""
    if block.lstrip().startswith(">>> "):
        return block
    parts = LITERAL.split(block)
    parts[::2] = [MARKUP.sub(r"\\", part) for part in parts[::2]]
    parts[1::2] = [f"``{part}``" for part in parts[1::2]]
    parts[2::2] = [f"\\ {part}" if part[:1].isalnum() else part for part in parts[2::2]]
    block = "".join(parts)
    if FORMULA.match(block):
        return indent(block, "| ")
    if block.startswith("Args:\n"):
        return list_options(block)
    return block


def list_options(block: str) -> str:
    """Makes a list of arguments that are described beneath another."""
    made: list[str] = []
    listed = False
    for line in block.splitlines():
        option = OPTION.fullmatch(line)
        if option and (listed or made[-1].endswith(":")):
            made += [] if listed else [""]
            listed = True
            line = f"        - {option[1]}"
        elif listed and line.startswith(" " * 12):
            line = line[2:]
        elif listed:
            made.append("")
            listed = False
        made.append(line)
    return "\n".join(made)


def read_rule(method: type[Optimizer]) -> str:
    """The code of a method's rule, after that of the point where its gradient is taken."""
    names = [name for name in ("gradient_point", "numbers", "rule") if vars(method).get(name)]
    code = [dedent(inspect.getsource(getattr(method, name))) for name in names]
    return "\n".join(code).replace("@staticmethod\n", "")


# Links


class NameLinks(SphinxTransform):
    """Makes links of the public names between backquotes: of `NAG`, not of `memory`, a word.

    The first in each paragraph is one, but for a name in its own description.
    """

    default_priority = 210  # after all is parsed

    def apply(self, **_: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            target = targets().get(node.astext().removesuffix("()"))
            above = list(ancestors(node))
            if target is None or any(isinstance(one, NO_LINKS) for one in above):
                continue
            described = [one for one in above if isinstance(one, addnodes.desc)]
            if any(target in one[0].get("ids", []) for one in described):
                continue
            paragraph = above[0]
            if target in paragraph.get("linked", ()):
                continue
            paragraph["linked"] = (*paragraph.get("linked", ()), target)
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


def ancestors(node: nodes.Node) -> Iterator[nodes.Element]:
    """What a node lies in, from within."""
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


def resolve_source(domain: str, info: dict[str, str]) -> str | None:
    """The address of a name's source, for sphinx.ext.linkcode; of a page in a folder of docs/."""
    value = import_module(info["module"])
    for part in info["fullname"].split("."):
        value = getattr(value, part)
    value = inspect.unwrap(value.fget if isinstance(value, property) else value)
    if not callable(value):
        return None
    path = Path(inspect.getsourcefile(value) or "").relative_to(CHECKOUT).as_posix()
    return f"../source/{path}.html#L-{inspect.getsourcelines(value)[1]}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(NameLinks)
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-process-docstring", process_docstring, priority=400)  # before Napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
