"""Pictures of the history of several runs, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scratchopt.pictures.curves import LABELS, label_steps
from scratchopt.pictures.style import BLACK, house_style
from scratchopt.plots.line_styles import LineStyle, choose_line_styles, legend_entry
from scratchopt.plots.lines import QUARTILES_FROM
from scratchopt.plots.panel import Panel, common_tags, draw_panel, make_panel
from scratchopt.plots.settings import Setting
from scratchopt.plots.sheet import make_sheet
from scratchopt.plots.x_axis import X_AXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

TOGETHER = 12  # lines in one panel; more are drawn optimizer by optimizer


@house_style()
def history_figures(
    settings: Sequence[Setting], title: str, against: str = "steps"
) -> dict[str, Figure]:
    """Draws the runs' history: loss, gradnorm, velocity, and the `val/` metrics.

    `history`: a panel for each, with a line for each setting: the median of its runs, in a band
    from the lowest to the highest, of five and more between the quartiles. Where one of the runs
    ends before the others, these go on as thin lines; one that diverged ends in a cross. Of more
    than 500 noisy values medians of some steps are drawn, over the values themselves where no more
    than four runs are; fewer are drawn as they are, so that an oscillation stays one. Of more than
    a dozen lines there is a picture for each tag instead, `history_loss` and so on, with a panel
    for each optimizer, as long as its own runs.

    Args:
        settings: whose runs have all logged `train/loss`.
        title: of each picture.
        against: a key of `scratchopt.plots.x_axis.X_AXES`.
    """
    found = {tag for setting in settings for tag in common_tags(setting)}
    tags = [*filter(found.__contains__, LABELS), *sorted(t for t in found if t.startswith("val/"))]
    panels = [make_panel(settings, tag, against) for tag in tags]
    optimizers = list(dict.fromkeys(setting.optimizer for setting in settings))
    if len(settings) <= TOGETHER or len(optimizers) == 1:
        chosen = choose_line_styles([setting.style_key for setting in settings])
        styles = dict(zip(settings, chosen, strict=True))
        names = {setting.name: style for setting, style in styles.items()}
        figure, axes = _make_figure(len(panels), names, panels, title)
        for each, place in zip(panels, axes, strict=True):
            draw_panel(place, each, styles)
            place.set_title(each.title)
        _share_x_axis(axes)
        _label_x_axes(axes, against)
        return {"history": figure}
    variants = list(dict.fromkeys(setting.variant for setting in settings))
    shared = choose_line_styles([("", variant) for variant in variants])
    by_variant = dict(zip(variants, shared, strict=True))
    names = {variant or "as it is": style for variant, style in by_variant.items()}
    figures = {}
    for each in panels:
        figure, axes = _make_figure(len(optimizers), names, [each], f"{title}: {each.title}")
        for optimizer, place in zip(optimizers, axes, strict=True):
            own = {s: by_variant[s.variant] for s in settings if s.optimizer == optimizer}
            draw_panel(place, each, own)
            place.set_title(optimizer)
        _label_x_axes(axes, against)
        figures[f"history_{each.tag.removeprefix('train/').replace('/', '_')}"] = figure
    return figures


def _make_figure(
    count: int, names: Mapping[str, LineStyle], panels: Sequence[Panel], title: str
) -> tuple[Figure, list[Axes]]:
    """Makes a figure for `count` panels, with a legend if the lines are several."""
    entries = _entries(names, panels) if len(names) > 1 else []
    return make_sheet(count, title, entries, _describe_runs(panels) if entries else None)


def _entries(names: Mapping[str, LineStyle], panels: Sequence[Panel]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    handles = [legend_entry(style, name) for name, style in names.items()]
    if any(line.ends for each in panels for line in each.lines.values()):
        cross = Line2D([], [], linestyle="none", marker="X", color=BLACK, markersize=8)
        cross.set_label("diverged")
        handles.append(cross)
    return handles


def _describe_runs(panels: Sequence[Panel]) -> str | None:
    """Says how many runs a line stands for, if not one, and what its band is."""
    counts = sorted({len(setting.runs) for each in panels for setting in each.lines})
    if counts == [1]:
        return None
    span = "quartiles" if counts[0] >= QUARTILES_FROM else "lowest to highest"
    if counts[0] < QUARTILES_FROM <= counts[-1]:
        span += f", from {QUARTILES_FROM} on quartiles"
    n = " to ".join(map(str, sorted({counts[0], counts[-1]})))
    return f"medians of n = {n} runs, band: {span}"


def _share_x_axis(axes: Sequence[Axes]) -> None:
    """Sets one x axis for all, with numbers beneath the lowest of each column."""
    right = max(place.get_xlim()[1] for place in axes)
    left = min(place.get_xlim()[0] for place in axes)
    for place in axes:
        place.set_xlim(left, right)
        place.tick_params(labelbottom=place in _lowest(axes))


def _label_x_axes(axes: Sequence[Axes], against: str) -> None:
    for place in axes:
        if against != "seconds":
            label_steps(place)
        place.set_xlabel(X_AXES[against] if place in _lowest(axes) else "")


def _lowest(axes: Sequence[Axes]) -> Sequence[Axes]:
    """The lowest axes of each column."""
    columns = len({place.get_position().x0 for place in axes})
    return axes[-columns:]
