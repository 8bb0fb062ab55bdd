"""The tables of how a comparison was made: the tuning, its budget, all that was held equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from scratchopt.compare.analysis import FACTOR, PART
from scratchopt.compare.formatting import NONE, count, number, settings, target_of
from scratchopt.compare.tables import Table

DECIDES = {
    "cost": "gradient evaluations until the target was reached",
    "metric": "the metric at the end of the run",
}


def sensitivity_table(task: Mapping[str, Any], decide: str) -> Table | None:
    """How much the lr matters; None, where none was searched."""
    entries = [entry for entry in task["entries"] if entry["sensitivity"]]
    if not entries:
        return None
    rows = [
        [
            entry["name"],
            settings(entry["default"]),
            settings(entry["chosen"]),
            _width(entry["sensitivity"]),
            _range(entry["sensitivity"]["basin"]),
            f"{entry['sensitivity']['divergence_rate']:.0%}",
            str(entry["trials"]),
        ]
        for entry in entries
    ]
    good = (
        f"costs at most {FACTOR:g} times the least of this optimizer"
        if decide == "cost"
        else f"ends with {task['objective']['metric']} at most {PART:.0%} off this optimizer's best"
    )
    return Table(
        "How much the lr matters",
        ["optimizer", "default", "chosen", "good basin", "good lrs", "diverged", "trials"],
        rows,
        [
            f"Good basin: the stretch of lrs around the best in which a trial {good}, in decades: "
            "one decade is a factor of ten, 0.3 a factor of two. ≥: it reaches the end of what was "
            "tried, and may be wider. Diverged: the share of the trials.",
        ],
    )


def budget_table(task: Mapping[str, Any], decide: str) -> Table | None:
    """The best of k trials, for a few k."""
    entries = [entry for entry in task["entries"] if entry["expected_best"][decide]]
    if not entries:
        return None
    of = "evaluations to the target" if decide == "cost" else task["objective"]["metric"]
    most = max(k for entry in entries for k, _ in entry["expected_best"][decide])
    shown = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k < most] + [most]
    rows = []
    for entry in entries:
        known = dict(map(tuple, entry["expected_best"][decide]))
        rows.append(
            [entry["name"], *(_best(known[k], decide) if k in known else NONE for k in shown)]
        )
    return Table(
        "Best of k trials",
        ["optimizer", *(f"k = {k}" for k in shown)],
        rows,
        [
            f"The {of} that the best of k trials has on average, if k of the lrs half a decade "
            "apart are drawn at random: what a smaller budget would have brought. “Not reached”: "
            "all k of them may miss the target.",
        ],
    )


def method_table(report: Mapping[str, Any]) -> Table:
    """A row for each thing that a reader has to know to do it again."""
    tuned = report["kind"] == "comparison"
    rows = [["command", report["command"]]]
    for task in report["tasks"]:
        objective = task["objective"]
        better = "greater" if objective["mode"] == "max" else "smaller"
        asked = f"{objective['metric']}, {better} is better; target: {target_of(objective)}"
        rows.append([f"objective on {task['task']}", asked])
        rows.append([f"read on {task['task']}", _read(report, task)])
    rows.append(["decided by", DECIDES[report["decide"]]])
    rows.append(
        [
            "evaluations",
            "One is a gradient of one batch; a product with a curvature, as Newton takes them, "
            "counts as two.",
        ]
    )
    if tuned:
        rows += [
            ["budget", f"{report['budget']} trials for each optimizer on each task"],
            ["seeds of tuning", f"from {report['tuning_seed']} on"],
            ["seeds of the runs", _seeds(report["seeds"]) + ", none of which tuned anything"],
            *(["search space of " + name, words] for name, words in report["space"].items()),
        ]
    else:
        rows.append(["seeds", _seeds(report["seeds"])])
        rows.append(
            [
                "settings",
                "Those that the runs had. Nothing was tuned here, so nothing speaks for these or "
                "against others, as an lr on the edge of what was tried would.",
            ]
        )
    failed = [run for run in report["runs"] if run["error"]]
    for error in sorted({f"{run['name']}: {run['error']}" for run in failed}):
        rows.append(["error", error])
    rows += [[package, ", ".join(found)] for package, found in report["versions"].items()]
    return Table("How it was done", ["what", "how"], rows, prose=True, code=frozenset({0}))


def _width(found: Mapping[str, Any]) -> str:
    if found["basin_width"] is None:
        return NONE
    return f"{'≥ ' if found['open'] else ''}{found['basin_width']:.1f} decades"


def _range(basin: Sequence[float] | None) -> str:
    return NONE if basin is None else f"{number(basin[0], 2)} to {number(basin[1], 2)}"


def _best(value: float, decide: str) -> str:
    return count(value) if decide == "cost" else number(value)


def _read(report: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """How often the metric was read."""
    metric = task["objective"]["metric"]
    usual = set()
    for run in report["runs"]:
        steps = [0, *(step for step, _, _ in run["readings"])]
        gaps = Counter(after - before for before, after in pairwise(steps))
        if run["task"] == task["task"] and gaps:
            usual.add(gaps.most_common(1)[0][0])
    every = " or ".join(f"{gap:,}" for gap in sorted(usual)) or "no"
    rounded = "" if usual <= {1} else "; costs to the target are rounded up to that"
    lucky = ", of one batch, so that a lucky one counts" if metric.startswith("train/") else ""
    return f"every {every} step{'s' * (usual != {1})}{lucky}{rounded}"


def _seeds(seeds: list[int]) -> str:
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
