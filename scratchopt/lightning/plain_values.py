"""Plain values: what a checkpoint may hold, to be loaded with `weights_only=True`."""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from torch import Tensor

KEPT = (type(None), bool, int, float, complex, str, bytes)


@dataclass
class PlainValues:
    """Turns values, and all within them, into tensors and values of Python's own types.

    NumPy's numbers become Python's, its arrays tensors, an enumeration's member its value, a path a
    string, other mappings, OmegaConf's among them, dicts, and other sequences lists. What is plain
    already stays the same object.

    Attributes:
        kept: places and types of values that cannot be made plain, and are left as they are.
        lost: those that cannot even be pickled; None is in their place.
    """

    kept: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def make(self, value: Any, place: str) -> Any:
        """Makes a value plain; `place` is what messages call it."""
        if type(value) in KEPT or isinstance(value, Tensor):
            return value
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            return torch.from_numpy(np.array(value))
        if isinstance(value, np.generic):
            return self._make_number(value, place)
        if isinstance(value, Enum):
            return self.make(value.value, place)
        if isinstance(value, PathLike):
            return fspath(value)
        for base in KEPT[1:]:
            if isinstance(value, base):  # of a class derived from it
                return base(value)  # type: ignore[call-arg]
        if isinstance(value, Mapping):
            return self._make_mapping(value, place)
        if isinstance(value, Sequence | Set) and not isinstance(value, torch.Size | bytearray):
            return self._make_sequence(value, place)
        return self._try(value, place)

    def _make_number(self, value: Any, place: str) -> Any:
        plain = value.item()
        return plain if type(plain) in KEPT else self._try(value, place)  # a date, a longdouble

    def _make_mapping(self, value: Mapping[Any, Any], place: str) -> Any:
        plain = {
            self.make(key, f"{place}'s key"): self.make(item, f"{place}[{key!r}]")
            for key, item in value.items()
        }
        same = all(a is b and plain[b] is value[a] for a, b in zip(value, plain, strict=False))
        ours = type(value) in (dict, OrderedDict)
        if ours and same and len(plain) == len(value):
            return value
        if type(value) is not OrderedDict:
            return plain
        ordered = copy.copy(value)  # with a state_dict's _metadata
        ordered.clear()
        ordered.update(plain)
        return ordered

    def _make_sequence(self, value: Any, place: str) -> Any:
        items = list(value)
        plain = [self.make(item, f"{place}[{i}]") for i, item in enumerate(items)]
        kind = next((k for k in (list, tuple, set) if isinstance(value, k)), list)
        if type(value) is kind and all(a is b for a, b in zip(items, plain, strict=True)):
            return value
        return kind(plain) if not isinstance(value, frozenset) else set(plain)

    def _try(self, value: Any, place: str) -> Any:
        """Keeps a value that torch loads as it is, such as a dtype, and notes any other."""
        described = f"{place} is a {type(value).__module__}.{type(value).__qualname__}"
        file = BytesIO()
        try:
            torch.save(value, file)
        except Exception:  # whatever the value's own way of being pickled raises
            self.lost.append(described)
            return None
        file.seek(0)
        try:
            torch.load(file, weights_only=True)
        except Exception:
            self.kept.append(described)
        return value
