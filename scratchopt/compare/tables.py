"""The tables of what came of it: cost of the target, quality, pairs, performance profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

from scratchopt.compare.analysis import Profile
from scratchopt.compare.formatting import (
    NONE,
    format_bytes,
    format_cost,
    format_mean,
    format_number,
    format_p,
    format_settings,
    format_target,
)
from scratchopt.compare.report import Entry, TaskReport
from scratchopt.compare.statistics import Interval
from scratchopt.compare.summary import Mean, Summary

ROLES = {"tuned": "", "untuned": " (default)"}
ON_EDGE = (
    "On edge: settings whose best value was the least or greatest tried, so that a better one may "
    "lie beyond."
)
BEYOND = (
    "Margin: which settings a tuning of a few seeds comes to is partly luck, so the better one's "
    "runs are made worse by about that much before they are tested."
)
STOPPED = (
    "Stopped: runs at the default settings that had cost more than the costliest tuned run of the "
    "same optimizer, and so could change nothing any more. “> 1,050”: more than that; nobody knows "
    "how much more. until=end has them go on."
)
AT_STOP = (
    "Runs that ended where they reached the target are about as good as each other for that "
    "reason, and this says nothing of what they would have come to. until=end has them go on."
)
STOPPED_SHORT = (
    "Runs that were stopped before the target have their last reading before that; it can't be "
    "held against those of the others."
)
MANY = 36  # pairs, of nine optimizers; of more only the leader's are shown


@dataclass(frozen=True)
class Table:
    """A table of text, whose first column says what a row is about.

    Args:
        title: what it shows.
        head: of the columns.
        rows: as long as `head`.
        notes: what the numbers mean, a sentence each, to stand beneath.
        prose: true where the cells are sentences rather than numbers.
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

    def drop_empty_columns(self) -> Table:
        """Drops the columns that have nothing to say in any row."""
        kept = [
            i for i in range(len(self.head)) if any(row[i] not in ("", "–") for row in self.rows)
        ]
        head = [self.head[i] for i in kept]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, head=head, rows=rows)


def make_cost_table(task: TaskReport) -> Table:
    """Makes the table of what the target has cost."""
    rows, pale = [], set()
    for entry, role, summary in _list_summaries(task):
        if role == "untuned":
            pale.add(len(rows))
        rows.append(
            [
                entry.name + ROLES[role],
                format_settings(entry.chosen if role == "tuned" else entry.default),
                _format_edges(entry) if role == "tuned" and entry.chosen else NONE,
                *(
                    format_cost(found)
                    for found in (
                        summary.cost_to_target,
                        summary.mean_cost_to_target,
                        summary.steps_to_target,
                    )
                ),
                f"{summary.missed} of {summary.n}",
                f"{summary.stopped} of {summary.n}" if summary.stopped else NONE,
                _format_failures(summary),
            ]
        )
    return Table(
        f"Cost of reaching {format_target(task.objective)}",
        [
            *("optimizer", "settings", "on edge", "evaluations", "mean", "steps", "missed"),
            *("stopped", "failed"),
        ],
        rows,
        [
            "Evaluations: of the gradient, until the target was first read; the median over all "
            "seeds, with its 95 % interval where there are six seeds. A run that missed the target "
            "counts as “not reached”, which is more than any number. Mean: of the same, with its "
            "bootstrap interval.",
            *([STOPPED] if any(s.stopped for _, _, s in _list_summaries(task)) else []),
            "Failed: runs that diverged or ended in an error.",
            *([ON_EDGE] if any(entry.chosen for entry in task.entries) else []),
        ],
        pale=frozenset(pale),
    ).drop_empty_columns()


def make_quality_table(task: TaskReport) -> Table:
    """Makes the table of how good the runs have become."""
    tags = _choose_test_tags(task)
    rows, pale = [], set()
    for entry, role, summary in _list_summaries(task):
        if role == "untuned":
            pale.add(len(rows))
        means = [summary.final, summary.best, summary.train_loss, *map(summary.test.get, tags)]
        rows.append(
            [
                entry.name + ROLES[role],
                str(summary.n),
                *(_format_mean_of_some(mean, summary.n) for mean in means),
                format_bytes(summary.memory),
            ]
        )
    metric, end = task.objective.metric, "stop" if task.until == "target" else "end"
    return Table(
        f"Quality: {metric}",
        ["optimizer", "runs", f"at the {end}", "best reading", "training loss", *tags, "memory"],
        rows,
        [
            "Means over the seeds with 95 % bootstrap intervals, where there are three seeds or "
            f"more. A run that diverged or failed has no value at the {end}; “(8 of 10)” says how "
            "many have one. Training loss: the last one."
            + (f" The test set was read once, at the {end}, and has decided nothing." * bool(tags)),
            *([AT_STOP] if task.until == "target" else []),
            *([STOPPED_SHORT] if any(s.stopped for _, _, s in _list_summaries(task)) else []),
            "Memory: parameters, gradients and optimizer state.",
        ],
        pale=frozenset(pale),
    ).drop_empty_columns()


def make_pairs_table(task: TaskReport, decide: str) -> Table | None:
    """Makes the table of all pairs of optimizers; None, where there is one alone."""
    pairs, leader = task.verdict.pairs, task.verdict.leader
    if not pairs:
        return None
    what = "evaluations to the target" if decide == "cost" else task.objective.metric
    means = "ratio" if decide == "cost" else "difference"
    shown = [p for p in pairs if len(pairs) <= MANY or leader in (p.first, p.second)]
    rows = [
        [
            pair.first,
            pair.second,
            _format_ratio(pair.ratio),
            _format_interval(pair.interval),
            format_p(pair.p),
            format_p(pair.corrected),
            pair.better or "no difference shown",
        ]
        for pair in shown
    ]
    return Table(
        "Pairs",
        ["first", "second", "ratio of medians", f"{means} of means", "p", "corrected p", "better"],
        rows,
        [
            f"Ratio: of the medians of the {what}, the first's to the second's; and the {means} of "
            f"their {'geometric ' * (decide == 'cost')}means, with its 95 % interval. p: how often "
            "such a difference, or a greater one, comes about by chance between two that are alike "
            f"({task.verdict.test}). Corrected: for the number of pairs; a difference counts as "
            f"shown at {task.verdict.alpha:g} or less.",
            *([f"Of {len(pairs)} pairs those of {leader}."] if len(shown) < len(pairs) else []),
            *([BEYOND] if any(entry.chosen for entry in task.entries) else []),
        ],
    )


def make_profile_table(profiles: Mapping[str, Profile]) -> Table:
    """Makes the table of how often an optimizer is near the best, over all tasks."""
    shown = (1.0, 1.5, 2.0, 4.0)
    rows = [
        [name, *(_format_share(profile.steps, tau) for tau in shown), f"{profile.score:.2f}"]
        for name, profile in profiles.items()
    ]
    return Table(
        "Performance profile",
        ["optimizer", "the best", *(f"within {tau:g}×" for tau in shown[1:]), "score"],
        rows,
        [
            "The share of tasks on which the optimizer, tuned, needs at most so many times the "
            "evaluations of the best; a target not reached counts as more than any. Score: the "
            "mean share from 1 to 4 times (1: always the best; 0: never within four times). It is "
            "of medians, and says nothing of significance: that do the verdicts.",
        ],
    )


def _list_summaries(task: TaskReport) -> Iterator[tuple[Entry, str, Summary]]:
    """Lists each optimizer's outcomes, with their roles."""
    for entry in task.entries:
        for role, summary in (("tuned", entry.tuned), ("untuned", entry.untuned)):
            if summary:
                yield entry, role, summary


def _choose_test_tags(task: TaskReport) -> list[str]:
    """Chooses the tag that the objective is about, or all tags, if there is none."""
    tags = sorted({tag for _, _, summary in _list_summaries(task) for tag in summary.test})
    same = "test/" + task.objective.metric.split("/", 1)[-1]
    return [same] if same in tags else tags


def _format_mean_of_some(mean: Mean | None, n: int) -> str:
    if mean is None or not mean.of:
        return NONE
    return format_mean(mean) + (f" ({mean.of} of {n})" if mean.of < n else "")


def _format_edges(entry: Entry) -> str:
    return ", ".join(key.rsplit(".", 1)[-1] for key in entry.edges) or "no"


def _format_failures(summary: Summary) -> str:
    counted = ", ".join(f"{count} {kind}" for kind, count in summary.failures.items() if count)
    return f"{counted} of {summary.n}" if counted else "none"


def _format_ratio(ratio: float) -> str:
    if not isfinite(ratio) or ratio == 0:  # one of the two missed
        return NONE
    return f"{ratio:.3f}" if 0.01 <= ratio < 100 else format_number(ratio, 3)


def _format_interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return NONE
    value, low, high = (format_number(x, 3) for x in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _format_share(steps: Sequence[tuple[float, float]], tau: float) -> str:
    return f"{[share for at, share in steps if at <= tau][-1]:.0%}"
