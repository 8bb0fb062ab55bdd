"""The reference of a package's public names, from their docstrings.

The directive `public-names` documents all of them, in the order in which it lists them; a name
that is missing there, or is not public, is a warning.
"""

import inspect
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from docstrings import restructure
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import signature, stringify_signature

from scratchopt.config.checkout import CHECKOUT
from scratchopt.optimizer import Optimizer, Params

logger = logging.getLogger(__name__)


def public_names(module: str) -> list[str]:
    """The public names of a module: its `__all__`, or what it or a module of it defines."""
    content = import_module(module)
    if hasattr(content, "__all__"):
        return list(content.__all__)
    return [
        name
        for name, value in vars(content).items()
        if not name.startswith("_")
        if f"{getattr(value, '__module__', '')}.".startswith(f"{module}.")
    ]


class PublicNames(SphinxDirective):
    """Documents a module and its public names, with a table of them."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module, listed = self.arguments[0], [line for line in self.content if line]
        names = public_names(module)
        for name in {*names} ^ {*(listed or names)}:
            where = "is not listed here" if name in names else "is not public"
            logger.warning(f"{module}.{name} {where}", location=self.get_location())
        about = [f".. automodule:: {module}", ""]
        table = [".. list-table::", "   :class: names", ""]
        text = []
        for name in listed or names:
            value = getattr(import_module(module), name)
            summary = restructure(summarize(module, name).replace("\n", " "))
            table += [f"   * - :py:obj:`~{module}.{name}`", f"     - {summary}"]
            kind = kind_of(value)
            option = {"class": "   :members:", "data": "   :no-value:"}.get(kind, "")
            text += [f".. auto{kind}:: {module}.{name}", option, ""]
        return self.parse_text_to_nodes("\n".join([*about, *table, "", *text]))


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
    module = sys.modules.get(function.__module__)  # none of what a named tuple makes
    cls = getattr(module, function.__qualname__.rpartition(".")[0], None)
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


def resolve_source(domain: str, info: dict[str, str]) -> str | None:
    """The address of a name's source, for sphinx.ext.linkcode; of a page in a folder of docs/."""
    value: Any = import_module(info["module"])
    for part in info["fullname"].split("."):
        value = getattr(value, part)
    if isinstance(value, property):
        value = value.fget
    if not callable(value):
        return None
    value = inspect.unwrap(value)
    path = Path(inspect.getsourcefile(value) or "").relative_to(CHECKOUT).as_posix()
    return f"../source/{path}.html#L-{inspect.getsourcelines(value)[1]}"


def configure(app: Sphinx, config: Config) -> None:
    """Gives sphinx.ext.linkcode the function that it asks for."""
    config.linkcode_resolve = resolve_source


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.linkcode")
    app.connect("config-inited", configure)
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-signature", sign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
