"""A report for its readers: on the console, as Markdown, and as one page of HTML."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from textwrap import fill

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tabulate import tabulate

from scratchopt.compare.document import Section, lay_out, make_title
from scratchopt.compare.report import Report, TaskReport
from scratchopt.compare.tables import Table, make_cost_table, make_pairs_table, make_quality_table
from scratchopt.pictures.style import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY

WIDTH = 100  # of the console
MANY = 10  # pairs; more are in the files only
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


def render_console(report: Report) -> str:
    """Renders each task's tables, and beneath them, where it is read first, the verdict."""
    parts = []
    for task in report.tasks:
        pairs = make_pairs_table(task, report.decide)
        tables = [make_cost_table(task), make_quality_table(task)]
        if pairs and len(pairs.rows) <= MANY:
            tables.append(pairs)
        for table in tables:
            rows = tabulate(table.rows, table.head, "simple", disable_numparse=True)
            parts.append(f"{task.task}: {table.title}\n{rows}")
        parts.append(_render_verdict(task))
    return "\n\n".join(parts)


def _render_verdict(task: TaskReport) -> str:
    statement = f"{task.task}: {task.verdict.statement}"
    lines = [fill(statement, WIDTH, break_long_words=False)]
    for reason in task.verdict.reasons:
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


def render_markdown(report: Report, charts: Collection[str]) -> str:
    """Renders a report as Markdown; its charts are in figures/ beside it.

    Args:
        report: of a comparison.
        charts: names of those that were drawn.
    """
    parts = [f"# {escape_markdown(make_title(report))}"]
    for section in lay_out(report, charts):
        parts += _render_section(section)
    return "\n\n".join(parts) + "\n"


def _render_section(section: Section) -> Iterator[str]:
    if section.title:
        yield f"{'#' * section.level} {escape_markdown(section.title)}"
    yield from map(escape_markdown, section.lines)
    if section.bullets:
        yield "\n".join(f"- {escape_markdown(bullet)}" for bullet in section.bullets)
    for table in section.tables:
        yield render_markdown_table(table, with_title=table.title != section.title)
    for name, caption in section.charts:
        yield f"![{escape_markdown(caption)}](figures/{name}.svg)"
        yield escape_markdown(caption)


def render_markdown_table(table: Table, with_title: bool = True) -> str:
    """Renders a table, and beneath it what its numbers mean."""
    cells = [[escape_markdown(cell) for cell in row] for row in table.rows]
    for i in table.code:
        if "`" not in (code := table.rows[i][-1]):
            cells[i][-1] = " ".join(f"`{code}`".replace("|", "\\|").splitlines())
    head = [escape_markdown(cell) for cell in table.head]
    rows = tabulate(cells, head, "pipe", disable_numparse=True)
    notes = "".join(f"\n\n{escape_markdown(note)}" for note in table.notes)
    title = f"**{escape_markdown(table.title)}**\n\n" if with_title else ""
    return f"{title}{rows}{notes}"


def escape_markdown(text: str) -> str:
    """Escapes what Markdown, HTML and GitHub's formulas would take for theirs; gives one line."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.splitlines()))
    text = re.sub(r"[\\`*_\[\]<|~$]", r"\\\g<0>", text)
    return re.sub(r"^(\s*(?:\d+)?)(#+|[>+\-=]|(?<=\d)[.)])(?=\s|$)", r"\1\\\2", text)


def render_page(report: Report, charts: Mapping[str, str]) -> str:
    """Renders a report as one HTML file that needs nothing but a browser: no network, no script.

    Args:
        report: of a comparison.
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
        title=make_title(report),
        sections=list(lay_out(report, charts)),
        colors=COLORS,
        svgs={name: inline_svg(svg, name) for name, svg in charts.items()},
    )


def inline_svg(svg: str, name: str) -> str:
    """Makes a picture a part of a page: its ids are its own, its colours the page's.

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
