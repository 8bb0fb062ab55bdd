"""A report in reading order: sections of sentences, tables and charts.

Markdown and page say the same because both are made of these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scratchopt.compare.formatting import mean_of, median_of
from scratchopt.compare.method_tables import budget_table, method_table, sensitivity_table
from scratchopt.compare.tables import Table, cost_table, pairs_table, profile_table, quality_table


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Args:
        title: of it; empty, where it goes on with the one before.
        level: 2 for a part, 3 for a part of a part.
        lines: sentences.
        points: of a list beneath them.
        tables: in order.
        winner: whom the sentences name, "" if none can be; None, where they are about no verdict.
        charts: (name of the file, what it shows and how to read it), in order.
    """

    title: str
    level: int = 2
    lines: Sequence[str] = ()
    points: Sequence[str] = ()
    winner: str | None = None
    tables: Sequence[Table] = ()
    charts: Sequence[tuple[str, str]] = ()


CAPTIONS = {
    "target": "A dot is a run, the bar their median; open dots are runs with the default settings. "
    "In the grey margin: runs that missed the target.",
    "curves": "The median over the seeds, in a band between the quartiles; further left is "
    "cheaper. Dashed: the target.",
    "sensitivity": "A dot is a trial; the lines go through the best at each lr. A wide valley, or "
    "plateau, forgives a badly chosen lr. In the grey margin: trials without a value.",
    "budget": "What the best of k lrs, drawn at random, comes to on average; a line begins where k "
    "of them cannot all come to nothing. Lines that still improve at the right want a larger "
    "budget.",
    "profile": "The share of tasks on which an optimizer needs at most τ times the evaluations of "
    "the best one. Higher and further left is better.",
}


def title(report: Mapping[str, Any]) -> str:
    """What the report is called."""
    tasks = " and ".join(task["task"] for task in report["tasks"])
    names = report["names"]
    if len(names) > 6 or max(map(len, names), default=0) > 30:
        what = "optimizer" if report["kind"] == "comparison" else "setting"
        return f"{len(names)} {what}{'s' * (len(names) != 1)} on {tasks}"
    return f"{', '.join(names)} on {tasks}"


def document(report: Mapping[str, Any], charts: Collection[str]) -> Iterator[Section]:
    """The sections.

    Args:
        report: of `scratchopt.compare.report`.
        charts: names of those that were drawn.
    """

    def drawn(prefix: str, *kinds: str) -> list[tuple[str, str]]:
        return [(prefix + kind, CAPTIONS[kind]) for kind in kinds if prefix + kind in charts]

    for task in report["tasks"]:
        verdict = task["verdict"]
        yield Section(
            "",
            lines=[verdict["statement"]],
            points=verdict["reasons"],
            winner=verdict["winner"] or "",
        )
    for task in report["tasks"]:
        prefix = f"{task['name']}_"
        yield Section(task["task"])
        cost, quality = cost_table(task), quality_table(task)
        first = Section(cost.title, 3, tables=[cost], charts=drawn(prefix, "target", "curves"))
        second = Section(quality.title, 3, tables=[quality])
        yield from (first, second) if report["decide"] == "cost" else (second, first)
        if task["best_default"]:
            untuned = next(e for e in task["entries"] if e["name"] == task["best_default"])
            yield Section("", lines=[_untuned(untuned, report["decide"])])
        pairs = pairs_table(task, report["decide"])
        if pairs:
            yield Section(pairs.title, 3, tables=[pairs])
        found = [sensitivity_table(task, report["decide"]), budget_table(task, report["decide"])]
        finer = [table for table in found if table]
        if finer:
            about = drawn(prefix, "sensitivity", "budget")
            yield Section("How hard they are to tune", 3, tables=finer, charts=about)
    if report["profile"]:
        tables = [profile_table(report["profile"])]
        yield Section("Over all tasks", tables=tables, charts=drawn("", "profile"))
    method = method_table(report)
    yield Section(method.title, lines=NOT_SHOWN, tables=[method])


def _untuned(entry: Mapping[str, Any], decide: str) -> str:
    account = entry["untuned"]
    cost = decide == "cost"
    if cost and account["missed"] == account["n"]:
        return "Of the defaults, untuned, none has reached the target."
    spread = median_of(account["cost_to_target"]) if cost else mean_of(account["final"])
    what = "evaluations to the target" if cost else "at the end"
    return f"Of the defaults, untuned, {entry['name']}'s are the best: {spread} {what}."


NOT_SHOWN = (
    "Not here: anything measured by the clock. Seconds to the target and per step depend on the "
    "machine, and stand in times.md, times.csv and times.json. Every run with its readings is in "
    "report.json, a line for each in runs.csv.",
)
