"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tabulate import tabulate

from scratchopt.compare.document import Section, document, title
from scratchopt.compare.table import Table


def markdown(report: Mapping[str, Any], charts: Collection[str]) -> str:
    """The whole file; its charts are in figures/ beside it.

    Args:
        report: of `scratchopt.compare.report`.
        charts: names of those that were drawn.
    """
    parts = [f"# {escaped(title(report))}"]
    for section in document(report, charts):
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def table(of: Table, titled: bool = True) -> str:
    """A table and what its numbers mean."""
    cells = [[escaped(cell) for cell in row] for row in of.rows]
    for i in of.code:
        if "`" not in (typed := of.rows[i][-1]):
            cells[i][-1] = f"`{typed}`".replace("|", "\\|")
    rows = tabulate(cells, [escaped(cell) for cell in of.head], "pipe", disable_numparse=True)
    notes = "".join(f"\n\n{escaped(note)}" for note in of.notes)
    title = f"**{escaped(of.title)}**\n\n" if titled else ""
    return f"{title}{rows}{notes}"


def escaped(text: str) -> str:
    """Text without a meaning for Markdown."""
    for mark in "\\`*_[]<|":
        text = text.replace(mark, "\\" + mark)
    return text


def _section(section: Section) -> Iterator[str]:
    if section.title:
        yield f"{'#' * section.level} {escaped(section.title)}"
    yield from map(escaped, section.lines)
    if section.points:
        yield "\n".join(f"- {escaped(point)}" for point in section.points)
    for each in section.tables:
        yield table(each, each.title != section.title)
    for name, caption in section.charts:
        yield f"![{escaped(caption)}](figures/{name}.svg)"
        yield escaped(caption)
