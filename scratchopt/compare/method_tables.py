"""The tables of how it was found: the sensitivity to the lr, the budget, the method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import inf

from scratchopt.compare.analysis import GOOD_COST_FACTOR, GOOD_METRIC_SHARE, Sensitivity
from scratchopt.compare.formatting import (
    NONE,
    format_at_least,
    format_number,
    format_settings,
    format_target,
)
from scratchopt.compare.report import Report, TaskReport
from scratchopt.compare.tables import Table
from scratchopt.compare.trials import MARGIN

CRITERIA_IN_WORDS = {
    "cost": "gradient evaluations until the target was reached",
    "metric": "the metric at the end of the run",
}
CAP = f"had passed {MARGIN:g} times the least cost so far, and could not become the best any more"


def make_sensitivity_table(task: TaskReport, decide: str) -> Table | None:
    """Makes the table of how much the lr matters; None, where none was searched."""
    rows = [
        [
            entry.name,
            format_settings(entry.default),
            format_settings(entry.chosen),
            _format_width(entry.sensitivity),
            _format_basin(entry.sensitivity),
            f"{entry.sensitivity.divergence_rate:.0%}",
            str(entry.stopped or NONE),
            str(entry.trials),
        ]
        for entry in task.entries
        if entry.sensitivity
    ]
    if not rows:
        return None
    good = f"costs at most {GOOD_COST_FACTOR:g} times the least of this optimizer"
    if decide == "metric":
        off = f"at most {GOOD_METRIC_SHARE:.0%} off this optimizer's best"
        good = f"ends with {task.objective.metric} {off}"
    return Table(
        "How much the lr matters",
        [
            "optimizer",
            "default",
            "chosen",
            "good basin",
            "good lrs",
            "diverged",
            "stopped",
            "trials",
        ],
        rows,
        [
            f"Good basin: the stretch of lrs around the best in which a trial {good}, in decades: "
            "one decade is a factor of ten, 0.3 a factor of two. ≥: it reaches the end of what was "
            "tried, and may be wider. Diverged: the share of the trials."
            + (f" Stopped: trials that {CAP}." * any(entry.stopped for entry in task.entries)),
        ],
    ).drop_empty_columns()


def make_budget_table(task: TaskReport, decide: str) -> Table | None:
    """Makes the table of the best of k trials, for a few k; None, where there were no trials."""
    entries = [entry for entry in task.entries if entry.expected_best[decide]]
    known = {entry.name: dict(entry.expected_best[decide]) for entry in entries}
    if not known:
        return None
    what = "evaluations to the target" if decide == "cost" else task.objective.metric
    most = max(k for best in known.values() for k in best)
    shown = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k < most] + [most]
    exact_from = {entry.name: entry.exact_from for entry in entries}

    def format_one(name: str, k: int) -> str:
        if k not in known[name]:
            return NONE
        if decide == "metric":
            return format_number(known[name][k])
        return format_at_least(known[name][k], inf if k >= exact_from[name] else 0.0)

    rows = [[name, *(format_one(name, k) for k in shown)] for name in known]
    return Table(
        "Best of k trials",
        ["optimizer", *(f"k = {k}" for k in shown)],
        rows,
        [
            f"The {what} that the best of k trials has on average, if k of the lrs half a decade "
            "apart are drawn at random: what a smaller budget would have brought."
            + " “Not reached”: all k of them may miss the target." * (decide == "cost")
            + (" “> 1,050”: all k may have been stopped." * any(e.exact_from > 1 for e in entries))
            + (" –: fewer than k such lrs were tried." * any(NONE in row for row in rows)),
        ],
    )


def make_method_table(report: Report) -> Table:
    """Makes the table of all that a reader has to know to do it again."""
    rows = [["command", report.command]]
    for task in report.tasks:
        objective = task.objective
        better = "greater" if objective.mode == "max" else "smaller"
        words = f"{objective.metric}, {better} is better; target: {format_target(objective)}"
        rows.append([f"objective on {task.task}", words])
        rows.append([f"read on {task.task}", _describe_reading(report, task)])
    rows.append(["decided by", CRITERIA_IN_WORDS[report.decide]])
    rows.append(
        [
            "evaluations",
            "One is a gradient of one batch; a product with a curvature, as Newton takes them, "
            "counts as two.",
        ]
    )
    seeds = _format_seeds(report.seeds)
    if report.is_tuned:
        stops = any(task.until == "target" for task in report.tasks)
        rows += [
            [
                "budget",
                f"{report.budget} trials for each optimizer on each task"
                + (f"; those were stopped that {CAP}" * stops),
            ],
            ["seeds of tuning", f"from {report.tuning_seed} on"],
            ["seeds of the runs", f"{seeds}, none of which tuned anything"],
            *(["search space of " + name, words] for name, words in report.space.items()),
        ]
    else:
        rows.append(["seeds", seeds])
        rows.append(
            [
                "settings",
                "Those that the runs had. Nothing was tuned here, so nothing speaks for these or "
                "against others, as an lr on the edge of what was tried would.",
            ]
        )
    errors = {
        f"{runs.name}: {run.result.error}"
        for runs in report.run_sets
        for run in runs.runs
        if run.result.error
    }
    rows += [["error", error] for error in sorted(errors)]
    rows += [[package, ", ".join(found)] for package, found in report.versions.items()]
    return Table("How it was done", ["what", "how"], rows, prose=True, code=frozenset({0}))


def _format_width(found: Sensitivity) -> str:
    if found.basin_width is None:
        return NONE
    return f"{'≥ ' if found.open else ''}{found.basin_width:.1f} decades"


def _format_basin(found: Sensitivity) -> str:
    if found.basin is None:
        return NONE
    low, high = found.basin
    return f"{format_number(low, 2)} to {format_number(high, 2)}"


def _describe_reading(report: Report, task: TaskReport) -> str:
    """Says how often the metric was read."""
    metric = task.objective.metric
    usual = set()
    for run in (run for runs in report.runs_on(task.task) for run in runs.runs):
        steps = [0, *(reading.steps for reading in run.readings)]
        gaps = Counter(after - before for before, after in pairwise(steps))
        if task.until == "target":  # else they are spaced, and the end is at any step
            gaps = Counter([steps[-1] - steps[-2]] if run.to_target else [])
        if gaps:
            usual.add(gaps.most_common(1)[0][0])
    every = " or ".join(f"{gap:,}" for gap in sorted(usual)) or "no"
    rounded = "" if usual <= {1} else "; costs to the target are rounded up to that"
    lucky = ", of one batch, so that a lucky one counts" if metric.startswith("train/") else ""
    if task.until == "target" and not metric.startswith("train/"):  # of validations
        rounded = f", and less often while the target was far off{rounded}"
    return f"every {every} step{'s' * (usual != {1})}{lucky}{rounded}"


def _format_seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
