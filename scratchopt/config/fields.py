"""Dataclasses as schemas: what their fields may hold, and how a configuration is checked by them.

Errors that are made to be read are one line: `UserError`, and what `messages.py` makes of others.
"""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import field, fields
from math import isfinite
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import ConfigKeyError, ValidationError

REMEMBERED = 1000  # contents; those of a sweep's jobs are the same but for a few
_valid: dict[tuple[type, str, str], dict[str, Any]] = {}


class UserError(Exception):
    """Something asked for cannot be had; the message is one line with the value and the remedy."""

    def _render_traceback_(self) -> list[str]:  # which a notebook shows in place of a traceback
        return [f"{type(self).__name__}: {self}"]


def must_be(what: str, holds: Callable[[Any], bool] = lambda _: True) -> Any:
    """A field whose value has a type and, unless it is None, a property; `what` says both.

    A number is finite.
    """
    return field(metadata={"what": what, "holds": holds})


def one_of(*names: str) -> Any:
    """A field whose value is one of some names."""
    return must_be(f"one of {', '.join(names)}", names.__contains__)


def count() -> Any:
    """A field whose value is a number of things."""
    return must_be("an integer >= 1", lambda n: n >= 1)


def list_of_counts() -> Any:
    """A field whose value is a list of numbers of things."""
    return must_be("a list of integers >= 1", lambda ns: all(type(n) is int and n >= 1 for n in ns))


def run_length() -> Any:
    """A field whose value is the length of a run."""
    return must_be("an integer >= 1, or -1 for no limit", lambda n: n >= 1 or n == -1)


def any_seed() -> Any:
    """A field whose value seeds a random generator."""
    return must_be("an integer in [0, 2**32)", lambda n: 0 <= n < 2**32)


def validate_fields(schema: type, content: Any, prefix: str) -> dict[str, Any]:
    """Checks the content; returns it in the schema's types, without the keys that it lacks.

    Args:
        schema: a dataclass with fields as `must_be` makes them.
        content: of a node.
        prefix: of its keys in messages, such as `optimizer.`.

    Raises:
        UserError: a key that is no field, a wrong type, a value that a field does not hold.
    """
    key = (schema, prefix, repr(content))
    if key not in _valid:
        if len(_valid) == REMEMBERED:
            _valid.clear()
        _valid[key] = _validate(schema, content, prefix)
    return deepcopy(_valid[key])


def _validate(schema: type, content: Any, prefix: str) -> dict[str, Any]:
    known = {f.name: f for f in fields(schema)}
    if not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        keys = ", ".join(list(known)[:2])
        raise UserError(f"{prefix[:-1]}={as_typed(content)}: must be keys ({keys}, …) with values")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), content)
    except ConfigKeyError as error:
        raise UserError(
            f"{prefix}{error.key}: no such key (there are {', '.join(known)})"
        ) from error
    except ValidationError as error:
        name = re.split(r"[.\[]", str(error.full_key))[0]
        what = known[name].metadata["what"]
        raise UserError(f"{prefix}{name}={as_typed(content[name])}: must be {what}") from error
    values: Any = OmegaConf.to_container(merged)
    values = {name: value for name, value in values.items() if value != MISSING}
    for name, value in values.items():
        rule = known[name].metadata
        if not rule or value is None:
            continue
        if not (is_finite(value) or rule.get("ranged")):
            what = f"{rule['what']}, and finite"
            raise UserError(f"{prefix}{name}={as_typed(content[name])}: must be {what}")
        if not rule["holds"](value):
            raise UserError(f"{prefix}{name}={as_typed(content[name])}: must be {rule['what']}")
    return values


def is_finite(value: Any) -> bool:
    """Tells whether a value holds neither NaN nor infinity; a text does not."""
    if isinstance(value, list):
        return all(map(is_finite, value))
    return not isinstance(value, float) or isfinite(value)


def as_typed(value: Any) -> str:
    """A value as one would type it on the command line."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return json.dumps(value, default=str)
