"""The methods of this package, read from their files: neither torch nor a method is imported.

What stands in a method's file is known before torch is there, so that a bad command line is refused
at once, and nothing about a method needs to be listed elsewhere.
"""

import ast
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any

from scratchopt.ranges import Range

_FOLDER = Path(__file__).parent
_BASE = "scratchopt.optimizer.Optimizer"


@dataclass(frozen=True)
class Source:
    """A class of this package as its file has it, and its bases first to last."""

    module: str
    node: ast.ClassDef
    base: "Source | None"

    @property
    def target(self) -> str:
        """Its name with that of its module, such as scratchopt.nag.NAG."""
        return f"{self.module}.{self.node.name}"

    def is_method(self) -> bool:
        """True if it is derived from `Optimizer`."""
        return self.base is not None and (self.base.target == _BASE or self.base.is_method())

    def takes_steps(self) -> bool:
        """True if it has a rule, or a step of its own; a base of several methods has neither."""
        if self.target == _BASE or self.base is None:
            return False
        own = self.function("rule") or self.function("step")
        return own is not None or self.base.takes_steps()

    def literal(self, name: str, default: Any) -> Any:
        """The value of a class attribute that is written out, such as a tuple of strings."""
        value = self._assigned(name)
        return default if value is None else ast.literal_eval(value)

    def ranges(self) -> tuple[Range, ...]:
        """The ranges of its hyperparameters, beside the common ones."""
        value = self._assigned("ranges")
        calls: list[Any] = value.elts if isinstance(value, ast.Tuple) else []
        found: list[Range] = []
        for call in calls:
            if isinstance(call, ast.Starred):  # the base's, as in *Base.ranges
                found += self.base.ranges() if self.base else ()
                continue
            named = {str(k.arg): _written(k.value) for k in call.keywords}
            found.append(Range(*map(_written, call.args), **named))
        return tuple(found)

    def arguments(self) -> dict[str, str]:
        """The arguments of its constructor but the parameters, each with its annotation.

        Options that it takes as `**options: Unpack[Options]` are among them. A name that stands for
        a `Literal` of the same file is replaced by it.
        """
        init = self.function("__init__")
        if init is None:
            return self.base.arguments() if self.base else {}
        aliases = {
            ast.unparse(node.target): ast.unparse(node.value)
            for node in ast.walk(_tree(self.module))
            if isinstance(node, ast.AnnAssign) and node.value is not None
        }
        found = {}
        for argument in [*init.args.args[2:], *init.args.kwonlyargs]:
            text = ast.unparse(argument.annotation) if argument.annotation else ""
            found[argument.arg] = aliases.get(text, text)
        if init.args.kwarg and isinstance(init.args.kwarg.annotation, ast.Subscript):
            options = ast.unparse(init.args.kwarg.annotation.slice)
            found |= _fields(_resolve(self.module, options))
        return found

    def function(self, name: str) -> ast.FunctionDef | None:
        """Its own function of a name."""
        functions = (node for node in self.node.body if isinstance(node, ast.FunctionDef))
        return next((node for node in functions if node.name == name), None)

    def letters(self, name: str) -> tuple[str, ...]:
        """The tensors that a rule of its own or inherited takes, by their letters: p, g, v."""
        function = self.function(name)
        if function is None:
            return self.base.letters(name) if self.base else ()
        return tuple(argument.arg for argument in function.args.args)

    def used_letters(self, name: str) -> tuple[str, ...]:
        """Those of them that the rule uses."""
        function = self.function(name)
        if function is None:
            return self.base.used_letters(name) if self.base else ()
        nodes = [node for line in function.body for node in ast.walk(line)]
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        return tuple(letter for letter in self.letters(name) if letter in used)

    def takes(self, name: str, number: str) -> bool:
        """True if a rule of its own or inherited takes a number."""
        function = self.function(name)
        if function is None:
            return self.base is not None and self.base.takes(name, number)
        return number in (argument.arg for argument in function.args.kwonlyargs)

    def _assigned(self, name: str) -> ast.expr | None:
        for node in self.node.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return getattr(node, "value", None)
        return self.base._assigned(name) if self.base else None


@cache
def read_class(target: str) -> Source | None:
    """A class of this package by its name, public or with its module; None, if there is none."""
    module, _, name = target.rpartition(".")
    found = _resolve(module, name) if module.partition(".")[0] == "scratchopt" else None
    return found if found is not None and _is_file(found.module) else None


@cache
def methods() -> dict[str, Source]:
    """All methods of this package by the names of their files, which are their configurations'."""
    found = {}
    for path in sorted(_FOLDER.glob("*.py")):
        module = f"scratchopt.{path.stem}"
        for node in _tree(module).body:
            source = _resolve(module, node.name) if isinstance(node, ast.ClassDef) else None
            if source is not None and source.is_method() and source.takes_steps():
                found[path.stem] = source
    return found


def method_classes() -> dict[str, Any]:
    """The classes of `methods()`, imported."""
    return {
        name: getattr(import_module(source.module), source.node.name)
        for name, source in methods().items()
    }


def _written(value: ast.expr) -> Any:
    """A value that is written out, which may be `inf` or `-inf`."""
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return -_written(value.operand)
    if isinstance(value, ast.Name) and value.id == "inf":
        return inf
    return ast.literal_eval(value)


def _is_file(module: str) -> bool:
    return _path(module).is_file()


def _path(module: str) -> Path:
    path = _FOLDER.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _resolve(module: str, name: str) -> Source | None:
    """The class that a name means in a module, wherever it was imported from in this package."""
    if not (module.startswith("scratchopt") and _is_file(module)):
        return None
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [_resolve(module, ast.unparse(base)) for base in node.bases]
            return Source(module, node, next(filter(None, bases), None))
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _resolve(node.module, alias.name)
    return None


def _fields(source: Source | None) -> dict[str, str]:
    """The fields of a TypedDict and of its base, with their annotations."""
    if source is None:
        return {}
    own = {
        ast.unparse(node.target): ast.unparse(node.annotation)
        for node in source.node.body
        if isinstance(node, ast.AnnAssign)
    }
    return _fields(source.base) | own
