"""The tables of a report that explain its verdict: pairs, lr-sensitivity, budget."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from scripts.comparing.digits import NONE, count, number, probability, settings
from scripts.comparing.table import Table


def pairs_table(task: Mapping[str, Any], decide: str) -> Table | None:
    """Every two optimizers, held against each other; None, where there is one alone."""
    verdict = task["verdict"]
    if not verdict["pairs"]:
        return None
    of = "evaluations to the target" if decide == "cost" else task["objective"]["metric"]
    rows = [
        [
            pair["first"],
            pair["second"],
            _ratio(pair["ratio"]),
            probability(pair["p"]),
            probability(pair["corrected"]),
            pair["better"] or "no difference shown",
        ]
        for pair in verdict["pairs"]
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
        ],
    )


def sensitivity_table(task: Mapping[str, Any]) -> Table | None:
    """How much the lr matters; None, where none was searched."""
    entries = [entry for entry in task["entries"] if entry["sensitivity"]]
    if not entries:
        return None
    rows = []
    for entry in entries:
        found = entry["sensitivity"]
        rows.append(
            [
                entry["name"],
                settings(entry["default"]),
                settings(entry["chosen"]),
                _basin(found),
                _percent(found["divergence_rate"]),
                str(entry["trials"]),
            ]
        )
    return Table(
        "How much the lr matters",
        ["optimizer", "default", "chosen", "width of the good basin", "diverged", "trials"],
        rows,
        [],
    )


def budget_table(task: Mapping[str, Any], decide: str) -> Table | None:
    """The best of k trials, for a few k."""
    entries = [entry for entry in task["entries"] if entry["expected_best"]]
    if not entries:
        return None
    most = max(k for entry in entries for k, _ in entry["expected_best"])
    shown = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k < most] + [most]
    rows = []
    for entry in entries:
        known = dict(map(tuple, entry["expected_best"]))
        rows.append(
            [entry["name"], *(_best(known[k], decide) if k in known else NONE for k in shown)]
        )
    return Table(
        "Best of k trials",
        ["optimizer", *(f"k = {k}" for k in shown)],
        rows,
        [],
    )


def _ratio(ratio: float) -> str:
    if not isfinite(ratio):
        return NONE
    return f"{ratio:.3f}" if 0.01 <= ratio < 100 else number(ratio, 3)


def _basin(found: Mapping[str, Any]) -> str:
    return NONE if found["basin_width"] is None else f"{number(found['basin_width'], 2)} decades"


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _best(value: float, decide: str) -> str:
    return count(value) if decide == "cost" else number(value)
