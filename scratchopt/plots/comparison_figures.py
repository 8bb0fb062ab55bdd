"""Pictures of what several runs have logged, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scratchopt.pictures.curves import LABELS, step_axis
from scratchopt.pictures.style import BLACK, house_style, sheet
from scratchopt.plots.comparison import QUARTILES_FROM, Setting
from scratchopt.plots.line_styles import Look, key, looks
from scratchopt.plots.panel import Panel, common_tags, draw, panel
from scratchopt.plots.x_axis import ABSCISSAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

TOGETHER = 12  # lines in one panel; more are drawn optimizer by optimizer


@house_style()
def history_figures(
    settings: Sequence[Setting], title: str, against: str = "steps"
) -> dict[str, Figure]:
    """What the runs have logged: loss, gradnorm, velocity, and what `val/` there is.

    `history`: a panel for each, with a line for each setting: the median of its runs, in a band
    from the lowest to the highest, of five and more between the quartiles. Where one of the runs
    ends before the others, these go on as thin lines; one that diverged ends in a cross. Noisy
    values are drawn as medians of some steps. Of more than a dozen lines there is a picture for
    each tag instead, `history_loss` and so on, with a panel for each optimizer.

    Args:
        settings: whose runs have all logged `train/loss`.
        title: of each picture.
        against: a key of `scratchopt.plots.x_axis.ABSCISSAE`.
    """
    found = {tag for setting in settings for tag in common_tags(setting)}
    tags = [*filter(found.__contains__, LABELS), *sorted(t for t in found if t.startswith("val/"))]
    panels = [panel(settings, tag, against) for tag in tags]
    optimizers = list(dict.fromkeys(setting.optimizer for setting in settings))
    if len(settings) <= TOGETHER or len(optimizers) == 1:
        look = dict(zip(settings, looks([setting.kind for setting in settings]), strict=True))
        names = {setting.name: look[setting] for setting in settings}
        figure, axes = _sheet(len(panels), names, panels, title)
        for each, place in zip(panels, axes, strict=True):
            draw(place, each, look)
            place.set_title(each.title)
        _finish(axes, against)
        return {"history": figure}
    variants = list(dict.fromkeys(setting.variant for setting in settings))
    shared = looks([("", variant) for variant in variants])
    by_variant = dict(zip(variants, shared, strict=True))
    names = {variant or "as it is": look for variant, look in by_variant.items()}
    figures = {}
    for each in panels:
        figure, axes = _sheet(len(optimizers), names, [each], f"{title}: {each.title}")
        for optimizer, place in zip(optimizers, axes, strict=True):
            own = {s: by_variant[s.variant] for s in settings if s.optimizer == optimizer}
            draw(place, each, own)
            place.set_title(optimizer)
        _finish(axes, against)
        figures[f"history_{each.tag.removeprefix('train/').replace('/', '_')}"] = figure
    return figures


def _sheet(
    count: int, names: Mapping[str, Look], panels: Sequence[Panel], title: str
) -> tuple[Figure, list[Axes]]:
    """A figure with places for `count` panels, and a legend in the next place if it says more."""
    entries = _entries(names, panels) if len(names) > 1 else []
    columns = min(count, 2 if count <= 5 else 3) if entries else 1
    rows = -(-(count + bool(entries)) // columns)
    size = 5.0 * columns + (0 if entries else 3.0), rows * max(2.6, 0.2 * len(entries) + 1.0) + 0.9
    figure, axes = sheet(rows, columns, size)
    figure.subplots_adjust(top=1 - 0.8 / size[1], hspace=0.3, wspace=0.2)
    figure.text(0.3 / size[0], 1 - 0.3 / size[1], title, fontsize=13, va="center")
    for place in axes[count:]:
        place.set_axis_off()
    if entries:
        axes[count].legend(
            handles=entries,
            title=_counts(panels),
            loc="upper left",
            alignment="left",
            fontsize=10,
            title_fontsize=10,
            handlelength=4.5,
            borderaxespad=0,
        )
    return figure, axes[:count]


def _entries(names: Mapping[str, Look], panels: Sequence[Panel]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    handles = [key(look, name) for name, look in names.items()]
    if any(line.ends for each in panels for line in each.lines.values()):
        cross = Line2D([], [], linestyle="none", marker="X", color=BLACK, markersize=8)
        cross.set_label("diverged")
        handles.append(cross)
    return handles


def _counts(panels: Sequence[Panel]) -> str | None:
    """How many runs a line stands for, if it is not one."""
    counts = sorted({len(setting.runs) for each in panels for setting in each.lines})
    if counts == [1]:
        return None
    span = "quartiles" if counts[0] >= QUARTILES_FROM else "lowest to highest"
    if counts[0] < QUARTILES_FROM <= counts[-1]:
        span += f", from {QUARTILES_FROM} on quartiles"
    n = " to ".join(map(str, sorted({counts[0], counts[-1]})))
    return f"medians of n = {n} runs, band: {span}"


def _finish(axes: Sequence[Axes], against: str) -> None:
    """One x axis for all, labelled beneath the lowest of each column."""
    right = max(place.get_xlim()[1] for place in axes)
    left = min(place.get_xlim()[0] for place in axes)
    columns = len({place.get_position().x0 for place in axes})
    for i, place in enumerate(axes):
        place.set_xlim(left, right)
        if against != "seconds":
            step_axis(place)
        lowest = i + columns >= len(axes)
        place.set_xlabel(ABSCISSAE[against] if lowest else "")
        place.tick_params(labelbottom=lowest)
