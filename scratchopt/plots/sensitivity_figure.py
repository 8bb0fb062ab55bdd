"""A picture of the sensitivity to a number, the lr above all: the outcome of runs over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scratchopt.pictures.curves import set_log_scale
from scratchopt.pictures.style import BLACK, house_style, new_figure
from scratchopt.plots.line_styles import LineStyle, choose_line_styles, legend_entry
from scratchopt.plots.outcome import DIVERGED, TOO_LONG, Outcome, compute_outcomes
from scratchopt.plots.settings import group_by_setting
from scratchopt.plots.swept_keys import LR, find_swept_numbers, is_logarithmic
from scratchopt.runs.directory import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LINE_FROM = 3  # values
TOGETHER = 12  # lines; the grid has room for more
MARKS = {
    DIVERGED: {"marker": "X", "markersize": 9, "markeredgecolor": "white"},
    TOO_LONG: {"marker": "^", "markersize": 7, "markerfacecolor": "white"},
}
_ROW = 0.17  # inches between the marks of two settings, above the axes


@house_style()
def sensitivity_figure(runs: Sequence[Run], title: str) -> Figure | None:
    """Draws the outcome over the lr, a line for each optimizer; None where none has two lrs.

    Where no lr is swept, it is over the number of which there are most values. A dot is a run, and
    the line their medians, of three lrs or more: two say nothing of what is between them. A run
    without an outcome is a mark above the axes; where the median is none, the line is broken. Where
    another number is swept too, more than a dozen lines are left to `grid_figure`.

    Args:
        runs: of one task, with a result.
        title: of the picture.
    """
    numbers = find_swept_numbers(runs)
    if not numbers:
        return None
    key = numbers[0]
    by_setting = {
        setting: [
            r for r in setting.runs if key in r.settings and (key != LR or r.settings[LR] > 0)
        ]
        for setting in group_by_setting(runs, without=[key])
    }
    swept = {s: own for s, own in by_setting.items() if len({r.settings[key] for r in own}) > 1}
    if not swept or (len(swept) > TOGETHER and len(numbers) > 1):
        return None
    drawn = [run for own in swept.values() for run in own]
    outcome = dict(zip(map(id, drawn), compute_outcomes(drawn), strict=True))
    marked = [s for s, own in swept.items() if any(outcome[id(run)].mark for run in own)]
    height = max(4.4, 0.25 * len(swept) + 2.0) + _ROW * len(marked)
    figure, (axes,) = new_figure(size=(10.0, height))
    figure.subplots_adjust(left=0.11, right=0.58, top=1 - (0.7 + _ROW * len(marked)) / height)
    heading = f"{title}: {outcome[id(drawn[0])].name}"
    figure.text(0.3 / 10, 1 - 0.3 / height, heading, fontsize=13, va="center")
    _set_scales(axes, key, drawn, [its.value for its in outcome.values()])
    tall = axes.get_position().height * height
    lined = {s for s, own in swept.items() if len({r.settings[key] for r in own}) >= LINE_FROM}
    chosen = choose_line_styles([setting.style_key for setting in swept], lines=bool(lined))
    styles = dict(zip(swept, chosen, strict=True))
    for setting, own in swept.items():
        points = [(run.settings[key], outcome[id(run)]) for run in own]
        row = marked.index(setting) if setting in marked else 0
        _draw_setting(axes, points, styles[setting], 1 + _ROW * (row + 0.7) / tall)
    marks = sorted({its.mark for its in outcome.values()} - {""})
    axes.legend(
        handles=[
            *(legend_entry(styles[s], s.name, line=s in lined) for s in swept),
            *(_mark_entry(mark) for mark in marks),
        ],
        loc="upper left",
        bbox_to_anchor=(1.03, 1),
        fontsize=10,
        handlelength=4.5,
        borderaxespad=0,
    )
    return figure


def _set_scales(axes: Axes, key: str, runs: Sequence[Run], values: Sequence[float]) -> None:
    """Sets the scales of both axes, before anything is drawn."""
    from matplotlib.ticker import (
        FixedLocator,
        LogLocator,
        MaxNLocator,
        NullLocator,
        StrMethodFormatter,
    )

    at = np.unique([run.settings[key] for run in runs])
    if key == LR or is_logarithmic(at):
        axes.set_xscale("log")
        axes.set_xlim(at[0] / (at[-1] / at[0]) ** 0.05, at[-1] * (at[-1] / at[0]) ** 0.05)
        several = LogLocator(subs=(1, 2, 5) if at[-1] / at[0] < 1000 else (1,))
    else:
        axes.set_xlim(at[0] - 0.05 * np.ptp(at), at[-1] + 0.05 * np.ptp(at))
        several = MaxNLocator(7)
    axes.xaxis.set_major_locator(FixedLocator(list(at)) if len(at) <= 7 else several)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(key.rpartition(".")[2])
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite) and (finite > 0).all() and np.ptp(np.log10(finite)) > 1:
        set_log_scale(axes, float(np.ptp(np.log10(finite))))


def _draw_setting(
    axes: Axes, points: Sequence[tuple[float, Outcome]], style: LineStyle, above: float
) -> None:
    places = np.unique([x for x, _ in points])
    medians = [np.median([its.value for x, its in points if x == place]) for place in places]
    if len(places) >= LINE_FROM:
        axes.plot(places, medians, **style.kwargs(marker=None))
    got = [(x, its.value) for x, its in points if not its.mark]
    axes.plot(*np.array(got).reshape(-1, 2).T, **style.kwargs(linestyle="none"))
    for name in sorted({its.mark for _, its in points} - {""}):
        at = [x for x, its in points if its.mark == name]
        axes.plot(
            at,
            [above] * len(at),
            linestyle="none",
            color=style.color,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            **MARKS[name],
        )


def _mark_entry(name: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", color=BLACK, label=name, **MARKS[name])
