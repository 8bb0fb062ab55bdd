"""Whether the best settings lie at the end of what was tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scratchopt.compare.ranking import LR


def edges(best: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The keys whose value in `best` is the least or the greatest tried.

    The lr is held against those that were tried together with the same other values or, if there
    are none, as where all values are drawn, against all. Another key counts only if more than two
    numbers of it were tried: two are a choice, not a range; and 0 is no edge, for there is nothing
    below.
    """
    for key, value in best.items():
        others = {k: v for k, v in best.items() if k != key}
        values = [s[key] for s in tried]
        if key == LR:
            alike = [s[LR] for s in tried if all(s[k] == v for k, v in others.items())]
            values = alike if len(set(alike)) > 1 else values
        if not all(isinstance(x, (int, float)) for x in values):
            continue
        end = value in (min(values), max(values))
        if end and (key == LR or (len(set(values)) > 2 and value != 0)):
            yield key
