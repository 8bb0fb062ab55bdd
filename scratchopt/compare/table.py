"""A table of strings, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column says what a row is about.

    Args:
        title: what it shows.
        head: of the columns.
        rows: as long as `head`.
        notes: what the numbers mean, a sentence each, to stand beneath.
        prose: whether the cells are sentences rather than numbers.
        code: rows whose last cell is to be typed as it stands.
        pale: rows that stand beside the others for comparison, such as the defaults.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    prose: bool = False
    code: frozenset[int] = field(default_factory=frozenset)
    pale: frozenset[int] = field(default_factory=frozenset)

    def without_empty(self) -> Table:
        """Without the columns that have nothing to say in any row."""
        kept = [
            i for i in range(len(self.head)) if any(row[i] not in ("", "–") for row in self.rows)
        ]
        head = [self.head[i] for i in kept]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, head=head, rows=rows)
