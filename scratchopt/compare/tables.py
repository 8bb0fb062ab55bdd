"""The tables of a report: what the target has cost, how the runs ended, who is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from scratchopt.compare.formatting import (
    NONE,
    bytes_of,
    mean_of,
    median_of,
    number,
    probability,
    settings,
    target_of,
)

ROLES = {"tuned": "", "untuned": " (default)"}
ON_EDGE = (
    "On edge: settings whose best value was the least or greatest tried, so that a better one may "
    "lie beyond."
)
MARGIN = (
    "Margin: which settings a tuning of a few seeds comes to is partly luck, so the better one's "
    "runs are made worse by about that much before they are tested."
)
MANY = 36  # pairs, of nine optimizers; of more only the leader's are shown


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column says what a row is about.

    Args:
        title: what it shows.
        head: of the columns.
        rows: as long as `head`.
        notes: what the numbers mean, a sentence each, to stand beneath.
        prose: whether the cells are sentences rather than numbers.
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

    def without_empty(self) -> Table:
        """Without the columns that have nothing to say in any row."""
        kept = [
            i for i in range(len(self.head)) if any(row[i] not in ("", "–") for row in self.rows)
        ]
        head = [self.head[i] for i in kept]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, head=head, rows=rows)


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


def pairs_table(task: Mapping[str, Any], decide: str) -> Table | None:
    """Every two optimizers, held against each other; None, where there is one alone."""
    verdict = task["verdict"]
    if not verdict["pairs"]:
        return None
    of = "evaluations to the target" if decide == "cost" else task["objective"]["metric"]
    pairs, leader = verdict["pairs"], verdict["leader"]
    shown = [p for p in pairs if len(pairs) <= MANY or leader in (p["first"], p["second"])]
    rows = [
        [
            pair["first"],
            pair["second"],
            _ratio(pair["ratio"]),
            probability(pair["p"]),
            probability(pair["corrected"]),
            pair["better"] or "no difference shown",
        ]
        for pair in shown
    ]
    return Table(
        "Pairs",
        ["first", "second", "ratio of medians", "p", "corrected p", "better"],
        rows,
        [
            f"Ratio: of the medians of the {of}, the first's to the second's. p: how often such a "
            "difference, or a greater one, comes about by chance between two that are alike "
            f"({verdict['test']}). Corrected: for the number of pairs; a difference counts as "
            f"shown at {verdict['alpha']:g} or less.",
            *([f"Of {len(pairs)} pairs those of {leader}."] if len(shown) < len(pairs) else []),
            *([MARGIN] if any(entry["chosen"] for entry in task["entries"]) else []),
        ],
    )


def profile_table(profile: Mapping[str, Any]) -> Table:
    """How often an optimizer is near the best, over all tasks."""
    shown = (1.0, 1.5, 2.0, 4.0)
    rows = [
        [name, *(_share(of["steps"], tau) for tau in shown), f"{of['score']:.2f}"]
        for name, of in profile.items()
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


def _ratio(ratio: float) -> str:
    if not isfinite(ratio) or ratio == 0:  # one of the two missed
        return NONE
    return f"{ratio:.3f}" if 0.01 <= ratio < 100 else number(ratio, 3)


def _share(steps: Sequence[tuple[float, float]], tau: float) -> str:
    return f"{[share for at, share in steps if at <= tau][-1]:.0%}"
