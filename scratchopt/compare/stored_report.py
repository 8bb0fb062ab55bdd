"""A report of a comparison as its files have it, for a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from scratchopt.compare.document import Section, lay_out, make_title
from scratchopt.compare.report import Report
from scratchopt.config.fields import UserError
from scratchopt.runs.html import as_html_table, embed_pictures


@dataclass(frozen=True)
class StoredReport:
    """A report of a comparison, which a notebook shows by its verdict, main tables and charts.

    Args:
        report: all of it but the single runs, which are in `runs.csv`.
        directory: of its files.
    """

    report: Report
    directory: Path

    @classmethod
    def read(cls, directory: str | Path) -> StoredReport:
        """Reads the report that compare.py has written into a directory.

        Raises:
            UserError: no report, or one that cannot be read.
        """
        path = Path(directory, "report.json")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(_restore(Report, content | {"run_sets": []}), path.parent)
        except FileNotFoundError as error:
            raise UserError(
                f"{path}: no such file; give the folder that compare.py has named as the report's"
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged, or of another version ({type(error).__name__}: {error}); give "
                "the command that made it again"
            ) from error

    def __repr__(self) -> str:
        statements = " ".join(task.verdict.statement for task in self.report.tasks)
        return f"{make_title(self.report)}: {statements} {self.directory / 'report.html'}"

    def _repr_html_(self) -> str:
        parts = [f"<h3>{escape(make_title(self.report))}</h3>"]
        for section in _choose_sections(self.report, self._charts):
            parts += [f"<h4>{escape(section.title)}</h4>"] if section.title else []
            parts += [f"<p><b>{escape(line)}</b></p>" for line in section.lines]
            parts += [f"<ul>{_list(section.bullets)}</ul>"] if section.bullets else []
            for table in section.tables:
                parts.append(as_html_table(table.head, table.rows))
                parts += [f"<p><small>{escape(note)}</small></p>" for note in table.notes]
            parts.append(embed_pictures(self._charts[name] for name, _ in section.charts))
            parts += [f"<p><small>{escape(caption)}</small></p>" for _, caption in section.charts]
        return "".join([*parts, f"<p>All of it: {escape(str(self.directory))}/report.html</p>"])

    @property
    def _charts(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted(self.directory.glob("figures/*.png"))}


def _list(bullets: Sequence[str]) -> str:
    return "".join(f"<li>{escape(bullet)}</li>" for bullet in bullets)


def _choose_sections(report: Report, charts: Mapping[str, Path]) -> Iterator[Section]:
    """Chooses the verdicts, and of each task its first table, which is of what decides."""
    tasks, is_next = {task.task for task in report.tasks}, False
    for section in lay_out(report, charts):
        if section.winner is not None or is_next or (section.title in tasks and len(tasks) > 1):
            yield section
        is_next = section.title in tasks


def _restore(kind: Any, value: Any) -> Any:
    """Restores a value from JSON in the type that a dataclass gives it."""
    inner = get_args(kind)
    if value is None or kind is Any:
        return value
    if NoneType in inner:  # of X | None
        return _restore(next(each for each in inner if each is not NoneType), value)
    if is_dataclass(kind):
        types = get_type_hints(kind)
        values = {
            field.name: _restore(types[field.name], value[field.name]) for field in fields(kind)
        }
        return kind(**values)  # pyright: ignore[reportCallIssue]
    if get_origin(kind) is Mapping:
        return {key: _restore(inner[1], each) for key, each in value.items()}
    if get_origin(kind) is Sequence:
        return [_restore(inner[0], each) for each in value]
    if get_origin(kind) is tuple:
        kinds = [inner[0]] * len(value) if inner[1:] == (...,) else inner
        return tuple(_restore(each, x) for each, x in zip(kinds, value, strict=True))
    return float(value) if kind is float else value  # inf is written as a word
