"""The schema of an optimizer's node, from its class in this package as its file has it."""

import ast
from dataclasses import field, make_dataclass
from functools import cache
from typing import Any

from scratchopt.config.fields import must_be, one_of
from scratchopt.method_files import read_class

# By annotation, None left out: the type, what a value must be, and when it is.
_KINDS: dict[str, tuple[Any, str, Any]] = {
    "float": (float, "a number", lambda _: True),
    "int": (int, "an integer", lambda _: True),
    "bool": (bool, "true or false", lambda _: True),
    "str": (str, "a text", lambda _: True),
    "tuple[float, float]": (list[float], "two numbers", lambda pair: len(pair) == 2),
    "tuple[float | None, float]": (
        list[float | None],
        "two numbers, the first of which may be null",
        lambda pair: len(pair) == 2,
    ),
    "tuple[float, float, float]": (list[float], "three numbers", lambda found: len(found) == 3),
}
_OF_RUNS = {
    "differentiable": must_be("false: it is for loops of your own", lambda on: not on),
}


@cache
def optimizer_schema(target: str) -> type | None:
    """A dataclass of what the constructor of a class takes; None for a class of another package.

    What is not annotated with a type that a configuration may hold is left to the constructor.

    Args:
        target: the class, such as scratchopt.NAG or scratchopt.nag.NAG.
    """
    source = read_class(target)
    if source is None or not source.is_method():
        return None
    fields = []
    for name, annotation in source.arguments().items():
        kind, checked = _field(annotation)
        fields.append((name, kind, _OF_RUNS.get(name, checked)))
    return make_dataclass(source.node.name, fields)


def _field(annotation: str) -> tuple[Any, Any]:
    """The type of a value with this annotation, and how it is checked."""
    annotation = annotation.replace(" | Tensor", "")
    parts = [annotation] if annotation in _KINDS else annotation.split(" | ")
    optional = "None" in parts
    kept = " | ".join(part for part in parts if part != "None")
    if kept.startswith("Literal["):
        names = ast.literal_eval(kept.removeprefix("Literal"))
        if optional:
            return str | None, must_be(f"one of {', '.join(names)}, or null", names.__contains__)
        return str, one_of(*names)
    if kept not in _KINDS:
        return Any, field(metadata={})
    kind, what, holds = _KINDS[kept]
    if not optional:
        return kind, _ranged(what, holds)
    listed = f"{what}, or null" if " or " not in what else what.replace(" or", ",") + " or null"
    return kind | None, _ranged(listed, holds)


def _ranged(what: str, holds: Any) -> Any:
    """A field whose values' range, finite in any case, is checked after its type."""
    return field(metadata={"what": what, "holds": holds, "ranged": True})
