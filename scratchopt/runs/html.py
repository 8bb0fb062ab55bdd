"""Tables and pictures as HTML that a notebook keeps whole: nothing in it lies elsewhere."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

LEFT = 'style="text-align: left; padding: 2px 14px 2px 4px"'  # notebooks put all to the right


def as_html_rows(rows: Mapping[str, str]) -> str:
    """Makes a table with a row for each name and its value."""
    return _as_table(
        f"<tr><th {LEFT}>{escape(name)}</th><td {LEFT}>{escape(value)}</td></tr>"
        for name, value in rows.items()
    )


def as_html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Makes a table with a head."""
    lines = [("th", head), *(("td", row) for row in rows)]
    return _as_table(
        f"<tr>{''.join(f'<{tag} {LEFT}>{escape(cell)}</{tag}>' for cell in row)}</tr>"
        for tag, row in lines
    )


def embed_pictures(paths: Iterable[Path]) -> str:
    """Makes pictures, PNGs, a part of a page, side by side where there is room."""
    pictures = "".join(
        f'<img alt="{escape(path.stem)}" style="max-width: min(100%, 560px)" '
        f'src="data:image/png;base64,{b64encode(path.read_bytes()).decode()}">'
        for path in paths
    )
    return f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{pictures}</div>'


def _as_table(lines: Iterable[str]) -> str:
    return f'<div style="overflow-x: auto"><table>{"".join(lines)}</table></div>'
