"""The paths of several runs on the same function, each on a ground of its own."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from scratchopt.pictures.style import BLACK, house_style, sheet
from scratchopt.problems.landscape import contours, evaluate, graph, ring_minima, scatter, view

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scratchopt.problems.functions import Function


@house_style()
def paths_figure(function: Function, paths: Mapping[str, np.ndarray], title: str) -> Figure:
    """Where each run went, coloured by step, on the function's graph or contours.

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
    figure, places = sheet(rows, columns, (width, height))
    figure.subplots_adjust(top=1 - 0.9 / height, right=1 - 1.15 / width, hspace=0.34, wspace=0.12)
    figure.text(0.3 / width, 1 - 0.3 / height, title, fontsize=13, va="center")
    low, high = view(function, np.concatenate(list(paths.values())))
    for i, (axes, (name, x)) in enumerate(zip(places, paths.items(), strict=False)):
        if function.dim == 1:
            graph(axes, function, low, high)
            points = np.column_stack([x, evaluate(function, x)])
        else:
            contours(axes, function, low, high)
            axes.plot(*x.T, color=BLACK, linewidth=0.7, alpha=0.5)
            points = x
        _, outside = scatter(axes, points, len(x) - 1, size=18)
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
