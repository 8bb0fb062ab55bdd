"""A report as one HTML file that needs nothing but a browser: no network, no script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scratchopt.compare.document import document, title
from scratchopt.pictures.style import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY

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
