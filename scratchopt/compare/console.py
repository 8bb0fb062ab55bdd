"""A report for the console: the verdict and the tables that it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

from tabulate import tabulate

from scratchopt.compare.finer_tables import pairs_table
from scratchopt.compare.table import Table
from scratchopt.compare.tables import cost_table, quality_table

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
        parts += [table(each, task["task"]) for each in tables]
        parts.append(_verdict(task))
    return "\n\n".join(parts)


def table(of: Table, of_what: str) -> str:
    """A table with its title, without its notes."""
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
