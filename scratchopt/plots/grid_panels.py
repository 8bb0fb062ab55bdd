"""The panels of a sweep of two numbers: what came of each setting's runs, by their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scratchopt.plots.outcome import Outcome, compute_outcomes
from scratchopt.plots.settings import group_by_setting
from scratchopt.plots.swept_keys import ENOUGH
from scratchopt.runs.directory import Run


@dataclass(frozen=True)
class Panel:
    """The outcomes of a setting's runs over two numbers.

    Args:
        name: of the setting.
        points: by place, x and y, the median of the outcomes there.
    """

    name: str
    points: dict[tuple[float, float], Outcome]

    @property
    def best(self) -> tuple[float, float] | None:
        """The place of the best outcome; None where no run has one."""
        good = [place for place, its in self.points.items() if not its.mark]
        return min(good, key=lambda place: self.points[place].rank, default=None)

    @property
    def rank(self) -> float:
        """The rank of the best outcome; infinite where no run has one."""
        return min(its.rank for its in self.points.values())


def make_panels(runs: Sequence[Run], axes: Sequence[str], apart: Sequence[str]) -> list[Panel]:
    """Makes a panel of each setting that has enough values of both numbers.

    Args:
        runs: of one task, with a result.
        axes: the keys of the two numbers.
        apart: keys in which the runs of a setting may differ.

    Returns:
        The panels; none, if no run has an outcome.
    """
    x, y = axes
    outcome = dict(zip(map(id, runs), compute_outcomes(runs), strict=True))
    panels = []
    for setting in group_by_setting(runs, without=apart):
        places: dict[tuple[float, float], list[Outcome]] = {}
        for run in setting.runs:
            if x in run.settings and y in run.settings:
                place = (run.settings[x], run.settings[y])
                places.setdefault(place, []).append(outcome[id(run)])
        if all(len({place[i] for place in places}) >= ENOUGH for i in (0, 1)):
            points = {place: _take_median(its) for place, its in places.items()}
            panels.append(Panel(setting.name, points))
    return panels if any(panel.best for panel in panels) else []


def _take_median(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome in the middle, by rank; of an even number the worse of two."""
    return sorted(outcomes, key=lambda its: its.rank)[len(outcomes) // 2]
