"""The tables of a report that explain its verdict: pairs, lr-sensitivity, budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from scratchopt.compare.analysis import FACTOR, PART
from scratchopt.compare.formatting import NONE, count, number, probability, settings
from scratchopt.compare.table import Table

MARGIN = (
    "Margin: which settings a tuning of a few seeds comes to is partly luck, so the better one's "
    "runs are made worse by about that much before they are tested."
)
MANY = 36  # pairs, of nine optimizers; of more only the leader's are shown


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


def _share(steps: Sequence[tuple[float, float]], tau: float) -> str:
    return f"{[share for at, share in steps if at <= tau][-1]:.0%}"


def _ratio(ratio: float) -> str:
    if not isfinite(ratio) or ratio == 0:  # one of the two missed
        return NONE
    return f"{ratio:.3f}" if 0.01 <= ratio < 100 else number(ratio, 3)


def _width(found: Mapping[str, Any]) -> str:
    if found["basin_width"] is None:
        return NONE
    return f"{'≥ ' if found['open'] else ''}{found['basin_width']:.1f} decades"


def _range(basin: Sequence[float] | None) -> str:
    return NONE if basin is None else f"{number(basin[0], 2)} to {number(basin[1], 2)}"


def _best(value: float, decide: str) -> str:
    return count(value) if decide == "cost" else number(value)
