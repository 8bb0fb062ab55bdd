"""A report in reading order: sections of sentences, tables and charts.

Markdown and page say the same because both are made of these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from scratchopt.compare.formatting import format_cost, format_mean
from scratchopt.compare.method_tables import (
    make_budget_table,
    make_method_table,
    make_sensitivity_table,
)
from scratchopt.compare.report import Report
from scratchopt.compare.summary import Summary
from scratchopt.compare.tables import (
    Table,
    make_cost_table,
    make_pairs_table,
    make_profile_table,
    make_quality_table,
)


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Args:
        title: of it; empty, where it goes on with the one before.
        level: 2 for a part, 3 for a part of a part.
        lines: sentences.
        bullets: of a list beneath them.
        tables: in order.
        winner: whom the sentences name, "" if none can be; None, where they are about no verdict.
        charts: (name of the file, what it shows and how to read it), in order.
    """

    title: str
    level: int = 2
    lines: Sequence[str] = ()
    bullets: Sequence[str] = ()
    winner: str | None = None
    tables: Sequence[Table] = ()
    charts: Sequence[tuple[str, str]] = ()


CAPTIONS = {
    "target": "A dot is a run, the bar their median; open dots are runs with the default settings. "
    "An arrow: runs that were stopped there, and need more. In a grey margin, if there is one: "
    "runs that missed the target.",
    "curves": "The median over the seeds, in a band between the quartiles; further left is "
    "cheaper. Dashed: the target.",
    "sensitivity": "A dot is a trial; the lines go through the best at each lr. A wide valley, or "
    "plateau, forgives a badly chosen lr. An arrow: a trial that was stopped there, as it could "
    "not become the best any more. In a grey margin, if there is one: trials without a value.",
    "budget": "What the best of k lrs, drawn at random, comes to on average; a line begins where k "
    "of them cannot all come to nothing or be stopped. Lines that still improve at the right want "
    "a larger budget.",
    "profile": "The share of tasks on which an optimizer needs at most τ times the evaluations of "
    "the best one. Higher and further left is better.",
}
NOT_SHOWN = (
    "Not here: anything measured by the clock. Seconds to the target and per step depend on the "
    "machine, and stand in times.md, times.csv and times.json. Every run with its readings is in "
    "report.json, a line for each in runs.csv.",
)


def make_title(report: Report) -> str:
    """Makes the title of a report."""
    tasks = " and ".join(task.task for task in report.tasks)
    names = report.names
    if len(names) > 6 or max(map(len, names), default=0) > 30:
        what = "optimizer" if report.is_tuned else "setting"
        return f"{len(names)} {what}{'s' * (len(names) != 1)} on {tasks}"
    return f"{', '.join(names)} on {tasks}"


def lay_out(report: Report, charts: Collection[str]) -> Iterator[Section]:
    """Lays out a report as sections.

    Args:
        report: of a comparison.
        charts: names of those that were drawn.
    """

    def captioned(prefix: str, *kinds: str) -> list[tuple[str, str]]:
        return [(prefix + kind, CAPTIONS[kind]) for kind in kinds if prefix + kind in charts]

    decide = report.decide
    for task in report.tasks:
        verdict = task.verdict
        yield Section(
            "",
            lines=[verdict.statement],
            bullets=verdict.reasons,
            winner=verdict.winner or "",
        )
    for task in report.tasks:
        prefix = f"{task.name}_"
        yield Section(task.task)
        cost, quality = make_cost_table(task), make_quality_table(task)
        first = Section(cost.title, 3, tables=[cost], charts=captioned(prefix, "target", "curves"))
        second = Section(quality.title, 3, tables=[quality])
        yield from (first, second) if decide == "cost" else (second, first)
        for entry in task.entries:
            if entry.name == task.best_default and entry.untuned:
                yield Section("", lines=[_state_default(entry.name, entry.untuned, decide)])
        pairs = make_pairs_table(task, decide)
        if pairs:
            yield Section(pairs.title, 3, tables=[pairs])
        tuning = [make_sensitivity_table(task, decide), make_budget_table(task, decide)]
        tables = [table for table in tuning if table]
        if tables:
            about = captioned(prefix, "sensitivity", "budget")
            yield Section("How hard they are to tune", 3, tables=tables, charts=about)
    if report.profile:
        tables = [make_profile_table(report.profile)]
        yield Section("Over all tasks", tables=tables, charts=captioned("", "profile"))
    method = make_method_table(report)
    yield Section(method.title, lines=NOT_SHOWN, tables=[method])


def _state_default(name: str, summary: Summary, decide: str) -> str:
    cost = decide == "cost"
    if cost and summary.missed == summary.n:
        return "Of the defaults, untuned, none has reached the target."
    figure = format_cost(summary.cost_to_target) if cost else format_mean(summary.final)
    what = "evaluations to the target" if cost else "at the end"
    return f"Of the defaults, untuned, {name}'s are the best: {figure} {what}."
