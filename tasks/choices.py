"""Options that are chosen by name."""

from collections.abc import Mapping
from typing import TypeVar

import torch

T = TypeVar("T")

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def choose(option: str, name: str, choices: Mapping[str, T]) -> T:
    """What `name` stands for among `choices`.

    Raises:
        ValueError: a name that is not among them, with those that are.

    >>> choose("dtype", "float16", DTYPES)
    Traceback (most recent call last):
    ValueError: Invalid dtype: float16 (one of float32, float64)
    """
    if name not in choices:
        raise ValueError(f"Invalid {option}: {name} (one of {', '.join(choices)})")
    return choices[name]
