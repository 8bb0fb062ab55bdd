"""Control characters in the files of a run, which a terminal would obey."""

import re
from typing import Any

# C0 without tab and line feed, DEL, and C1.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def escape_controls(value: Any) -> Any:
    r"""Writes the control characters of all texts and keys in a value as Python does.

    >>> escape_controls({"lr\x1b[2J": ["a\x9b", 0.1]})
    {'lr\\x1b[2J': ['a\\x9b', 0.1]}
    """
    if isinstance(value, str):
        return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
    if isinstance(value, dict):
        return {escape_controls(key): escape_controls(inner) for key, inner in value.items()}
    return [escape_controls(inner) for inner in value] if isinstance(value, list) else value
