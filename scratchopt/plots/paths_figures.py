"""Pictures of the paths of recorded toy runs, each on the graph or the contours of its function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from scratchopt.config.fields import UserError
from scratchopt.lightning.trajectory import read_records
from scratchopt.pictures.style import BLACK, house_style, new_figure
from scratchopt.plots.settings import Setting
from scratchopt.problems.functions import Function, find_function
from scratchopt.problems.landscape import (
    choose_limits,
    draw_contours,
    draw_graph,
    draw_points,
    evaluate,
    ring_minima,
)
from scratchopt.runs.checkpoints import CHECKPOINT, read_checkpoint
from scratchopt.runs.directory import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def paths_figures(
    settings: Sequence[Setting], leave_out: Callable[[Run, str], None], note: str = ""
) -> dict[str, Figure]:
    """Draws `paths`, a panel for each setting; one picture for each function.

    The first of the runs that took the same path is shown. With several functions the pictures are
    `paths_article` and so on.

    Args:
        settings: of runs; those of other tasks than functions have no picture.
        leave_out: called with each run that is not shown, and why.
        note: at the end of the titles.

    Raises:
        UserError: records that are damaged.
    """
    by_function: dict[str, tuple[Function, dict[str, np.ndarray]]] = {}
    for setting in settings:
        task = setting.runs[0].config["task"]
        function = find_function(task)
        if function is None:
            continue
        key = function.name
        if key == "quadratic":
            key += f"_{task.get('condition_number', 100.0):g}"
        _, panels = by_function.setdefault(key, (function, {}))
        for label, path in _distinct_paths(setting, leave_out).items():
            if path.shape[1:] == (function.dim,):
                panels[label] = path
    figures = {}
    for key, (function, panels) in by_function.items():
        if panels:
            alone = len(by_function) == 1
            title = f"{function.title}: paths, with the points evaluated{note}"
            figures["paths" if alone else f"paths_{key}"] = draw_paths(function, panels, title)
    return figures


@house_style()
def draw_paths(function: Function, paths: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draws the path of each run, coloured by step, on the function's graph or contours.

    A panel for each path, as paths on a graph would all lie on the one curve. All panels have the
    same scales; colours go from the first step of each to its last.

    Args:
        function: what is minimized.
        paths: the evaluated points by the name of the run, in order; [steps, dim]. Those outside
            the panel, or not finite, are counted rather than drawn.
        title: of the picture.
    """
    from matplotlib.cm import ScalarMappable

    columns = min(len(paths), 3 if len(paths) <= 9 else 4)
    rows = -(-len(paths) // columns)
    width, height = 3.6 * columns + 1.6, 2.75 * rows + 0.9
    figure, places = new_figure(rows, columns, (width, height))
    figure.subplots_adjust(top=1 - 0.9 / height, right=1 - 1.15 / width, hspace=0.34, wspace=0.12)
    figure.text(0.3 / width, 1 - 0.3 / height, title, fontsize=13, va="center")
    low, high = choose_limits(function, np.concatenate(list(paths.values())))
    for i, (axes, (name, x)) in enumerate(zip(places, paths.items(), strict=False)):
        if function.dim == 1:
            draw_graph(axes, function, low, high)
            points = np.column_stack([x, evaluate(function, x)])
        else:
            draw_contours(axes, function, low, high)
            axes.plot(*x.T, color=BLACK, linewidth=0.7, alpha=0.5)
            points = x
        _, outside = draw_points(axes, points, len(x) - 1, size=18)
        ring_minima(axes, function, size=12)
        axes.set_title(fill(name, 38), fontsize=10, pad=5)
        note = f"{len(x):,} points" + (f", {outside:,} outside" if outside else "")
        axes.annotate(note, (0.97, 0.95), xycoords="axes fraction", ha="right", va="top")
        lowest, leftmost = i + columns >= len(paths), i % columns == 0
        axes.tick_params(labelleft=leftmost, labelbottom=lowest)
        axes.set_xlabel("x" if lowest else "")
        axes.set_ylabel(("f(x)" if function.dim == 1 else "y") if leftmost else "")
    for axes in places[len(paths) :]:
        axes.set_axis_off()
    bar = figure.add_axes((1 - 0.95 / width, 0.6 / height, 0.18 / width, 1 - 1.5 / height))
    figure.colorbar(ScalarMappable(cmap="viridis"), cax=bar, ticks=[0, 1])
    bar.set_yticklabels(["first\nstep", "last"])
    return figure


def _distinct_paths(
    setting: Setting, leave_out: Callable[[Run, str], None]
) -> dict[str, np.ndarray]:
    """Reads the paths of a setting that differ, by a name for each."""
    found: list[np.ndarray] = []
    for run in setting.runs:
        path = _read_path(run)
        if path is None:
            leave_out(run, "its path was not recorded")
        elif not any(np.array_equal(path, other, equal_nan=True) for other in found):
            found.append(path)
    several = len(found) > 1
    return {f"{setting.name} ({i})" if several else setting.name: x for i, x in enumerate(found, 1)}


def _read_path(run: Run) -> np.ndarray | None:
    """Reads the evaluated points, [steps, dim], from records of every step, or the checkpoint."""
    try:
        _, records = read_records(run.directory / "path")
    except FileNotFoundError:
        return _read_path_in_checkpoint(run)
    except ValueError as error:
        raise UserError(f"{error}; move it away, and the checkpoint's path is drawn") from error
    if not np.array_equal(records["step"], np.arange(len(records))):
        return _read_path_in_checkpoint(run)
    points = records["point"].astype(float)
    return points[:-1] if len(points) and np.isnan(records["gradient"][-1]).all() else points


def _read_path_in_checkpoint(run: Run) -> np.ndarray | None:
    path = run.directory / CHECKPOINT
    try:
        return read_checkpoint(path)["path"][0].double().numpy()
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise UserError(f"{path} has no path of a run; put back that of this run") from error
