"""How a comparison was made: what was held equal, and what was searched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from scratchopt.compare.formatting import target_of
from scratchopt.compare.table import Table

DECIDES = {
    "cost": "gradient evaluations until the target was reached",
    "metric": "the metric at the end of the run",
}


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
