"""A report for its readers: on the console, as Markdown, and as one page of HTML."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tabulate import tabulate

from scratchopt.compare.document import Section, document, title
from scratchopt.compare.tables import Table, cost_table, pairs_table, quality_table
from scratchopt.pictures.style import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY

WIDTH = 100
MANY = 10  # pairs; more are in the files only


def console(report: Mapping[str, Any]) -> str:
    """Each task's tables, and beneath them, where it is read first, the verdict."""
    parts = []
    for task in report["tasks"]:
        pairs = pairs_table(task, report["decide"])
        tables = [cost_table(task), quality_table(task)]
        if pairs and len(pairs.rows) <= MANY:
            tables.append(pairs)
        parts += [_console_table(each, task["task"]) for each in tables]
        parts.append(_verdict(task))
    return "\n\n".join(parts)


def _console_table(of: Table, of_what: str) -> str:
    """A _console_table with its title, without its notes."""
    rows = tabulate(of.rows, of.head, "simple", disable_numparse=True)
    return f"{of_what}: {of.title}\n{rows}"


def _verdict(task: Mapping[str, Any]) -> str:
    verdict = task["verdict"]
    lines = [fill(f"{task['task']}: {verdict['statement']}", WIDTH, break_long_words=False)]
    for reason in verdict["reasons"]:
        lines.append(
            fill(
                reason,
                WIDTH,
                initial_indent="  - ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n".join(lines)


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


def markdown_table(of: Table, titled: bool = True) -> str:
    """A markdown_table and what its numbers mean."""
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
        yield markdown_table(each, each.title != section.title)
    for name, caption in section.charts:
        yield f"![{escaped(caption)}](figures/{name}.svg)"
        yield escaped(caption)


# Of each colour in a chart its name on the page, and what it becomes on a dark one.
COLORS = {
    "paper": ("#ffffff", "#16181b"),
    "ink": ("#222222", "#e6e6e6"),
    "grey": (GREY, "#a8abb0"),
    "axis": ("#888888", "#777b80"),
    "grid": ("#e4e4e4", "#33363b"),
    "blue": (BLUE, "#4aa3df"),
    "orange": (ORANGE, "#f07c3e"),
    "black": (BLACK, "#f2f2f2"),
    "green": (GREEN, "#2fc79a"),
    "purple": (PURPLE, "#dd93bb"),
    "sky": (SKY, "#8fd0f5"),
    "amber": (AMBER, "#f2bb3d"),
}


def page(report: Mapping[str, Any], charts: Mapping[str, str]) -> str:
    """The whole file.

    Args:
        report: of `scratchopt.compare.report`.
        charts: the SVG of each, by name.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=title(report),
        sections=list(document(report, charts)),
        colors=COLORS,
        svgs={name: inlined(svg, name) for name, svg in charts.items()},
    )


def inlined(svg: str, name: str) -> str:
    """A picture as a part of a page: its ids are its own, its colours the page's.

    Args:
        svg: as matplotlib writes it.
        name: that no other picture of the page has.
    """
    start, end = svg.index("<svg"), svg.index(">", svg.index("<svg"))
    tag = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", svg[start:end])
    svg = tag + re.sub(r"<metadata>.*?</metadata>", "", svg[end:], flags=re.DOTALL)
    own = re.sub(r"[^\w-]", "_", name)
    svg = re.sub(r'\bid="', f'id="{own}-', svg)
    svg = re.sub(r"url\(#", f"url(#{own}-", svg)
    svg = re.sub(r'xlink:href="#', f'href="#{own}-', svg)
    for color, (light, _) in COLORS.items():
        svg = re.sub(light, f"var(--{color})", svg, flags=re.IGNORECASE)
    return svg.replace("<svg", '<svg role="img"', 1)
