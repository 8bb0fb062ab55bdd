"""A panel: what several settings have logged under one tag, and the drawing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scratchopt.pictures.curves import LABELS, is_noisy, set_log_scale
from scratchopt.pictures.style import DRAWABLE
from scratchopt.plots.line_styles import LineStyle
from scratchopt.plots.lines import Line, read_series, summarize_setting
from scratchopt.plots.settings import Setting
from scratchopt.plots.x_axis import compute_x_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RISE = 1000  # of the largest first value: a line that rises further leaves the picture
DRAWN = 500  # values that a panel has the pixels for
WITH_RAW = 4  # lines whose values have room beneath their medians
_MARKERS = 7  # markers along the x axis


@dataclass(frozen=True)
class Panel:
    """A tag of some settings, in the scales that suit all of them.

    Args:
        tag: such as `train/loss`.
        lines: of the settings whose runs have all logged it.
        raw: x and values themselves of single runs whose medians are drawn, if these are few.
        width: values whose medians are drawn; 1, the values themselves.
        decades: that the y axis spans, if it is logarithmic; else 0.
        ylim: lowest and highest value in the picture.
    """

    tag: str
    lines: Mapping[Setting, Line]
    raw: Mapping[Setting, tuple[np.ndarray, np.ndarray]]
    width: int
    decades: float
    ylim: tuple[float, float]

    @property
    def title(self) -> str:
        """The title: the name of the tag, and of how many values there are medians."""
        name = LABELS.get(self.tag, self.tag.replace("val/", "validation "))
        return name if self.width == 1 else f"{name}, medians of {self.width} values"


def make_panel(settings: Sequence[Setting], tag: str, against: str) -> Panel:
    """Makes the panel of a tag, and chooses its scales.

    Where no value is negative and the positive ones span more than a decade, y is logarithmic, and
    zeros are left out. Where a line of more than 500 values goes up and down, all are drawn as
    medians of a hundredth of the values of the longest.
    """
    logged = {
        setting: [read_series(run, tag) for run in setting.runs]
        for setting in settings
        if tag in common_tags(setting)
    }
    finite = [values[np.isfinite(values)] for its in logged.values() for _, values in its]
    first = max((abs(values[0]) for values in finite if len(values)), default=0.0)
    limit = RISE * first or np.inf
    shown = [values[np.abs(values) <= limit] for values in finite]
    decades = _decades(np.concatenate(shown))
    scaled = [np.log10(values[values > 0]) for values in shown] if decades else shown
    noisy = any(len(values) > DRAWN and is_noisy(values) for values in scaled)
    width = -(-max(map(len, shown)) // 100) if noisy else 1
    lines, raw = {}, {}
    for setting, its in logged.items():
        xs = [
            compute_x_values(run, s, against) for run, (s, _) in zip(setting.runs, its, strict=True)
        ]
        lines[setting] = summarize_setting(setting, tag, xs, width)
        if len(xs) == 1 and len(logged) <= WITH_RAW and width > 1:
            raw[setting] = xs[0], its[0][1]
    visible = [v for its in lines.values() for v in (its.low, its.high, *(y for _, y in its.tails))]
    visible += [values for _, values in raw.values()]
    values = np.concatenate(visible)
    bound = limit if decades else min(limit, _bound_linear(logged))
    values = values[np.abs(values) <= min(bound, DRAWABLE)]
    ylim = _limits(values[values > 0] if decades else values, decades)
    return Panel(tag, lines, raw, width, decades, ylim)


def common_tags(setting: Setting) -> set[str]:
    """The tags that all runs of a setting have logged."""
    return set.intersection(*(set(run.history) for run in setting.runs))


def draw_panel(axes: Axes, panel: Panel, styles: Mapping[Setting, LineStyle]) -> None:
    """Draws the lines of some settings; beneath medians, pale, the values of single runs.

    Markers are spread along the x axis, each line's between those of the others, and one is at its
    end; a run that diverged ends in a cross, at the top if it has left the picture.
    """
    if panel.decades:
        set_log_scale(axes, panel.decades)
    axes.set_ylim(panel.ylim)
    right = max((its.x.max(initial=0) for its in panel.lines.values()), default=0)
    for i, (setting, style) in enumerate(styles.items()):
        if setting not in panel.lines:
            continue
        its = panel.lines[setting]
        places = (np.arange(_MARKERS) + (i + 0.5) / len(styles)) * right / _MARKERS
        marked = {*np.searchsorted(its.x, places[places < its.x[-1]]).tolist(), len(its.x) - 1}
        if setting in panel.raw:
            axes.plot(*panel.raw[setting], color=style.color, alpha=0.3, linewidth=0.8)
        axes.plot(its.x, its.y, **style.kwargs(markevery=sorted(marked)))
        if (its.low < its.high).any():
            axes.fill_between(its.x, its.low, its.high, color=style.color, alpha=0.2, linewidth=0)
        for x, y in its.tails:
            axes.plot(x, y, color=style.color, linestyle=style.dashes, linewidth=0.8)
        for x, y in its.ends:
            axes.plot(
                x,
                np.clip(y, *panel.ylim),
                marker="X",
                color=style.color,
                markersize=9,
                markeredgecolor="white",
                clip_on=False,
                zorder=5,
            )


def _bound_linear(logged: Mapping[Setting, Sequence[tuple[np.ndarray, np.ndarray]]]) -> float:
    """The greatest number that a linear axis has to show: of a run that diverged only the first.

    On such an axis a rise to a few hundred times the first value makes all other lines one.
    """
    firsts = [values[:1] for its in logged.values() for _, values in its]
    calm = [
        values
        for setting, its in logged.items()
        if not any(run.result and run.result.failed for run in setting.runs)
        for _, values in its
    ]
    seen = np.abs(np.concatenate([*calm, *firsts]))
    return float(seen[seen <= DRAWABLE].max(initial=0.0)) if calm else np.inf


def _decades(values: np.ndarray) -> float:
    """The decades of a logarithmic axis; 0, if it would show no more than a linear one."""
    positive = values[values > 0]
    if not len(positive) or (values < 0).any():
        return 0.0
    decades = float(np.ptp(np.log10(positive)))
    return decades if decades > 1 else 0.0


def _limits(values: np.ndarray, decades: float) -> tuple[float, float]:
    if not len(values):
        return 0.1, 1.0
    low, high = values.min(), values.max()
    if decades:
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin
