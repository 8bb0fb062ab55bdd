"""What a search asks for, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scratchopt.compare.runs import Measured


@dataclass(frozen=True)
class Trial:
    """A run that a search asks for.

    Args:
        items: the settings, as pairs in the keys' order; a list among the values as a tuple.
        repeat: which of the tuning seeds: 0, the first; 1, the next; …
    """

    items: tuple[tuple[str, Any], ...]
    repeat: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any], repeat: int = 0) -> Trial:
        """The trial of some settings."""
        pairs = ((k, tuple(v) if isinstance(v, list) else v) for k, v in settings.items())
        return cls(tuple(sorted(pairs)), repeat)

    @property
    def settings(self) -> dict[str, Any]:
        """By key, such as {"optimizer.lr": 0.1}."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self.items}


Results = Mapping[Trial, Measured]


def by_settings(runs: Iterable[Measured]) -> dict[Trial, list[Measured]]:
    """The runs of each settings, which differ in the seed alone, by their first trial."""
    found: dict[Trial, list[Measured]] = {}
    for run in runs:
        found.setdefault(Trial.of(run.settings), []).append(run)
    return found


@dataclass(frozen=True)
class Choice:
    """What a search came to.

    Args:
        settings: the best ones; None, if no trial came to anything.
        edges: keys of those whose value is the least or the greatest tried.
    """

    settings: dict[str, Any] | None
    edges: tuple[str, ...]
