"""The tables of a report: what the target has cost, how the runs ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scratchopt.compare.formatting import NONE, bytes_of, mean_of, median_of, settings, target_of
from scratchopt.compare.table import Table

ROLES = {"tuned": "", "untuned": " (default)"}
ON_EDGE = (
    "On edge: settings whose best value was the least or greatest tried, so that a better one may "
    "lie beyond."
)


def cost_table(task: Mapping[str, Any]) -> Table:
    """What the target has cost."""
    rows, pale = [], set()
    for name, role, entry, account in _accounts(task):
        if role == "untuned":
            pale.add(len(rows))
        n, failures = account["n"], account["failures"]
        rows.append(
            [
                name + ROLES[role],
                settings(entry["chosen" if role == "tuned" else "default"]),
                _edges(entry) if role == "tuned" and entry["chosen"] else NONE,
                median_of(account["cost_to_target"]),
                median_of(account["mean_cost_to_target"]),
                median_of(account["steps_to_target"]),
                f"{account['missed']} of {n}",
                _failures(failures, n),
            ]
        )
    target = target_of(task["objective"])
    tuned = any(entry["chosen"] for entry in task["entries"])
    return Table(
        f"Cost of reaching {target}",
        ["optimizer", "settings", "on edge", "evaluations", "mean", "steps", "missed", "failed"],
        rows,
        [
            "Evaluations: of the gradient, until the target was first read; the median over all "
            "seeds, with its 95 % interval where there are six seeds. A run that missed the target "
            "counts as “not reached”, which is more than any number. Mean: of the same, with its "
            "bootstrap interval; by these the verdict holds intervals against each other, and by "
            "the medians' where a run missed.",
            "Failed: runs that diverged or ended in an error.",
            *([ON_EDGE] if tuned else []),
        ],
        pale=frozenset(pale),
    ).without_empty()


def quality_table(task: Mapping[str, Any]) -> Table:
    """How good the runs have become."""
    objective = task["objective"]
    accounts = list(_accounts(task))
    tags = _test_tags(accounts, objective["metric"])
    rows, pale = [], set()
    for name, role, _, account in accounts:
        if role == "untuned":
            pale.add(len(rows))
        rows.append(
            [
                name + ROLES[role],
                str(account["n"]),
                *(_mean(account[of], account["n"]) for of in ("final", "best", "train_loss")),
                *(_mean(account["test"].get(tag), account["n"]) for tag in tags),
                bytes_of(account["memory"]),
            ]
        )
    return Table(
        f"Quality: {objective['metric']}",
        ["optimizer", "runs", "at the end", "best reading", "training loss", *tags, "memory"],
        rows,
        [
            "Means over the seeds with 95 % bootstrap intervals, where there are three seeds or "
            "more. A run that diverged or failed has no value at the end; “(8 of 10)” says how "
            "many have one. Training loss: the last one. The test set was read once, at the end, "
            "and has decided nothing.",
            "Memory: parameters, gradients and optimizer state.",
        ],
        pale=frozenset(pale),
    ).without_empty()


def _accounts(task: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    for entry in task["entries"]:
        for role in ROLES:
            if entry[role]:
                yield entry["name"], role, entry, entry[role]


def _mean(mean: Mapping[str, Any] | None, n: int) -> str:
    if mean is None or not mean["of"]:
        return NONE
    return mean_of(mean) + (f" ({mean['of']} of {n})" if mean["of"] < n else "")


def _edges(entry: Mapping[str, Any]) -> str:
    return ", ".join(key.rsplit(".", 1)[-1] for key in entry["edges"]) or "no"


def _failures(failures: Mapping[str, int], n: int) -> str:
    counted = ", ".join(f"{count} {kind}" for kind, count in failures.items() if count)
    return f"{counted} of {n}" if counted else "none"


def _test_tags(accounts: Any, metric: str) -> list[str]:
    """The one that the objective is about; if there is none, all."""
    tags = sorted({tag for _, _, _, account in accounts for tag in account["test"]})
    same = "test/" + metric.split("/", 1)[-1]
    return [same] if same in tags else tags
