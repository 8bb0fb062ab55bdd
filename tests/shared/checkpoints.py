"""Comparisons of two checkpoints, to the last bit."""

from typing import Any

import torch


def same(a: Any, b: Any) -> bool:
    """Compares two nested structures of tensors and plain values, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Lists what is not the same in two checkpoints, times by the clock aside."""
    if where.endswith("/seconds"):
        return []
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for k in a for d in differences(a[k], b[k], f"{where}/{k}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [
            d
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for d in differences(x, y, f"{where}/{i}")
        ]
    return [] if same(a, b) else [f"{where}: {a} != {b}"]
