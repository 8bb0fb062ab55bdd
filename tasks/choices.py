"""Options that several tasks have: chosen by name, or widths of layers."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def choose(option: str, name: str, choices: Mapping[str, T]) -> T:
    """Looks up the choice of a name.

    Raises:
        ValueError: a name that is not among them, with those that are.

    >>> choose("dtype", "float16", DTYPES)
    Traceback (most recent call last):
    ValueError: Invalid dtype: float16 (one of float32, float64)
    """
    if name not in choices:
        raise ValueError(f"Invalid {option}: {name} (one of {', '.join(choices)})")
    return choices[name]


def check_widths(hidden: Sequence[int]) -> None:
    """Refuses layers without a unit.

    Raises:
        ValueError: with the widths.
    """
    if any(width < 1 for width in hidden):
        raise ValueError(f"Invalid hidden: {list(hidden)} (each width >= 1)")
