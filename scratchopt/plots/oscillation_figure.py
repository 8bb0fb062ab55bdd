"""A picture of the parameters of several runs over the steps, one laid over the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scratchopt.lightning.trajectory import RecordLayout, parameter_names, read_records
from scratchopt.pictures.curves import label_steps
from scratchopt.pictures.style import DRAWABLE, GREY, house_style
from scratchopt.plots.line_styles import choose_line_styles, legend_entry
from scratchopt.plots.settings import Setting
from scratchopt.plots.sheet import make_sheet
from scratchopt.problems.functions import find_function
from scratchopt.problems.landscape import choose_limits
from scratchopt.runs.directory import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST = 50  # steps, as the article draws them
TOGETHER = 12  # lines that can be told apart in one panel


@house_style()
def oscillation_figures(
    settings: Sequence[Setting], title: str, leave_out: Callable[[Run, str], None]
) -> dict[str, Figure]:
    """Draws `oscillation`, θ before each of the first 50 steps; nothing of more than two numbers.

    A panel is a coordinate, a line the first run of a setting; dashed lines are the minima of a
    function that is known. Runs that diverged decide nothing on the scale, and end where they first
    leave it. Of more than a dozen lines there is a picture for each optimizer instead,
    `oscillation_nag` and so on.

    Args:
        settings: of runs of one task.
        title: of the picture.
        leave_out: called with each run that is not shown, and why.
    """
    paths: dict[Setting, np.ndarray] = {}
    names: list[str] = []
    for setting in settings:
        try:
            found = _read_first_steps(setting.runs[0])
        except ValueError as error:  # of a net, whose path is no other picture's
            leave_out(setting.runs[0], f"{error}")
            continue
        if found is not None:
            names = parameter_names(found[0])
            paths[setting] = found[1]
    if not paths:
        return {}
    if len(paths) <= TOGETHER:
        return {"oscillation": _draw(paths, names, title)}
    figures = {}
    for optimizer in dict.fromkeys(setting.optimizer for setting in paths):
        own = {setting: path for setting, path in paths.items() if setting.optimizer == optimizer}
        for setting in list(own)[TOGETHER:]:
            room = f"as a picture of the oscillation has room for {TOGETHER} lines"
            leave_out(setting.runs[0], room)
            del own[setting]
        name = f"oscillation_{optimizer.replace('/', '_')}"
        figures[name] = _draw(own, names, f"{title}, {optimizer}")
    return figures


def _draw(paths: dict[Setting, np.ndarray], names: Sequence[str], title: str) -> Figure:
    styles = choose_line_styles([setting.style_key for setting in paths])
    styled = list(zip(paths.items(), styles, strict=True))
    entries = [legend_entry(style, setting.name) for (setting, _), style in styled]
    several = entries if len(entries) > 1 else []
    figure, places = make_sheet(len(names), title, several, size=(9.0, 3.6))
    function = find_function(next(iter(paths)).runs[0].config["task"])
    minima = np.array(function.minimizers if function else np.empty((0, len(names))))
    low, high = _limits(paths, minima)
    if function is not None:
        known_low, known_high = choose_limits(function, np.stack([low, high]))
        low, high = np.maximum(low, known_low), np.minimum(high, known_high)
    margin = np.where(high > low, 0.05 * (high - low), 1.0)
    ends = low - margin, high + margin
    for i, (axes, name) in enumerate(zip(places, names, strict=True)):
        for place in np.unique(minima[:, i]):
            axes.axhline(place, color=GREY, linestyle="--", linewidth=1)
        for (setting, path), style in styled:
            seen = path[: _find_exit(path, *ends)] if _has_failed(setting) else path
            axes.plot(seen[:, i], **style.kwargs(markersize=4, linewidth=1.2))
        axes.set_ylim(ends[0][i], ends[1][i])
        label_steps(axes)
        axes.set_xlabel(f"step, the first {FIRST} at most" if i == len(names) - 1 else "")
        axes.set_ylabel(name)
    return figure


def _read_first_steps(run: Run) -> tuple[RecordLayout, np.ndarray] | None:
    """Reads θ before the first steps, [steps, n], NaN where it is not finite; None if not there."""
    try:
        layout, records = read_records(run.directory / "path")
    except FileNotFoundError:
        return None
    first = records[:FIRST]
    if not len(first) or layout.size > 2 or first["step"][-1] != len(first) - 1:
        return None
    theta = np.asarray(first["parameters"], float)
    return layout, np.where(np.abs(theta) < DRAWABLE, theta, np.nan)


def _limits(paths: dict[Setting, np.ndarray], minima: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest coordinates, of the runs that did not diverge if there are any."""
    good = [path for setting, path in paths.items() if not _has_failed(setting)]
    seen = np.concatenate([*(good or paths.values()), minima])
    return np.nanmin(seen, axis=0), np.nanmax(seen, axis=0)


def _has_failed(setting: Setting) -> bool:
    result = setting.runs[0].result
    return result is not None and result.failed


def _find_exit(path: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
    """Finds how many points there are up to the first outside, that one included."""
    outside = ((path < low) | (path > high)).any(axis=1)
    return int(outside.argmax()) + 1 if outside.any() else len(path)
