"""A picture of who holds what at each moment of a step, by data parallelism and ZeRO's stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.bench.zero_record import KINDS, LAYER_BYTES, LAYERS, Moment
from scratchopt.pictures.style import BLUE, GREY, ORANGE, house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "DataParallel": "Data parallelism: each process holds everything",
    "Stage1": "Stage 1: each holds its half of the optimizer state",
    "Stage2": "Stage 2: and its half of the gradients, once averaged",
    "Stage3": "Stage 3: and its half of the parameters, when not in use",
}
HOLDERS = {
    1: (BLUE, "process 0 alone holds it"),
    2: (ORANGE, "process 1 alone holds it"),
    3: ("#BDBDBD", "both hold it"),
}
MARKS = {
    "all-reduce": ("D", "all-reduce: both get the mean"),
    "reduce-scatter": ("^", "reduce-scatter: each gets its half of the mean"),
    "all-gather": ("v", "all-gather: each sends its half to the other"),
}
SHADES = dict(zip(KINDS, ("#00664B", "#3DB893", "#B5E3D4"), strict=True))  # from below
GAP = 0.9  # between kinds, in layers
MIB = 2**20


@house_style()
def draw_stages(record: Mapping[str, Sequence[Sequence[Moment]]]) -> Figure:
    """Draws a row for each stage: on the left who holds what, on the right the bytes.

    Args:
        record: the moments of two processes, by the name of the stage.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 11.8))
    panels: Any = figure.subplots(len(record), 2, sharex=True, width_ratios=[1.35, 1])
    figure.subplots_adjust(
        left=0.135, right=0.985, bottom=0.055, top=0.805, wspace=0.15, hspace=0.29
    )
    most = max(sum(m.size.values()) for first, _ in record.values() for m in first) / MIB
    for (name, moments), (left, right) in zip(record.items(), panels, strict=True):
        _draw_holders(left, moments)
        left.set_title(TITLES[name], pad=18)
        _draw_bytes(right, moments[0])
        right.set(ylim=(0, 1.15 * most), yticks=np.arange(0, most + 1, 4))
    for axes in panels.flat:
        _part_passes(axes)
    for axes in panels[-1]:
        _label_moments(axes, [moment.name for moment in record["Stage3"][0]])
    _label_kinds(panels[0, 1], record["DataParallel"][0][-1])
    _add_legend(figure)
    return figure


def _draw_holders(axes: Axes, moments: Sequence[Sequence[Moment]]) -> None:
    """Draws a cell for each moment, kind, layer and half, in the color of who holds it."""
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(["white", *(color for color, _ in HOLDERS.values())])
    x, top = np.arange(len(moments[0]) + 1), 0.0
    for kind in KINDS:
        for layer in range(LAYERS):
            edges = top + layer + np.array([0, 0.5, 1])
            cells = _find_holders(moments, kind, layer)
            axes.pcolormesh(x, edges, cells, cmap=colors, vmin=-0.5, vmax=3.5)
            axes.text(-0.1, edges[1], f"{layer + 1}", ha="right", va="center", size=8, color=GREY)
        axes.hlines(np.arange(top, top + LAYERS), 0, x[-1], colors="white", linewidth=2)
        name = kind.replace(" ", "\n")
        axes.text(-0.55, top + LAYERS / 2, name, ha="right", va="center", size=10)
        top += LAYERS + GAP
    axes.text(-0.1, -0.35, "layer", ha="right", va="center", size=8, color=GREY)
    axes.vlines(x, 0, top, colors="white", linewidth=2)
    bounds = [i * (LAYERS + GAP) + end for i in range(len(KINDS)) for end in (0, LAYERS)]
    axes.hlines(bounds, 0, x[-1], colors="#999999", linewidth=0.8)
    axes.set(xlim=(0, x[-1]), ylim=(top - GAP + 0.1, -0.1), yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for column, moment in enumerate(moments[0]):
        operations = list(dict.fromkeys(moment.operations))
        for i, operation in enumerate(operations, 1):
            place = column + i / (len(operations) + 1)
            axes.plot(place, -0.75, MARKS[operation][0], color="black", ms=5, clip_on=False)


def _find_holders(moments: Sequence[Sequence[Moment]], kind: str, layer: int) -> np.ndarray:
    """Who holds each half of a layer at each moment, 1 + 2 if both do, shape (2, moments)."""
    found = np.zeros((2, len(moments[0])))
    for rank, own in enumerate(moments):
        held = np.array([moment.held[kind][layer] for moment in own])
        for half in range(2):
            needed = LAYER_BYTES / 2 if half == rank else LAYER_BYTES
            found[half] += (rank + 1) * (held >= needed)
    return found


def _draw_bytes(axes: Axes, moments: Sequence[Moment]) -> None:
    """Draws the bytes of a process, in MiB, kind on kind, and in figures the most and the last."""
    edges, total = np.arange(len(moments) + 1), np.zeros(len(moments))
    for kind, shade in SHADES.items():
        below, total = total, total + np.array([moment.size[kind] for moment in moments]) / MIB
        axes.stairs(total, edges, baseline=below, fill=True, color=shade)
    axes.stairs(total, edges, baseline=None, color="#222222", linewidth=1.2)
    highest = int(total.argmax())
    for at in (highest, len(total) - 1)[: 1 + (total[-1] < total[highest])]:
        axes.text(at + 0.5, total[at] + 0.3, f"{total[at]:g}", ha="center", va="bottom", size=10)
    axes.set_title("MiB that a process holds", size=10, pad=6)
    axes.set_xlim(0, len(moments))
    axes.grid(axis="x", visible=False)


def _label_kinds(axes: Axes, moment: Moment) -> None:
    """Labels the kinds at the right of the bytes, where each has some."""
    below = 0.0
    for kind, shade in SHADES.items():
        size = moment.size[kind] / MIB
        color = "white" if shade == SHADES[KINDS[0]] else "black"
        axes.text(
            2 * LAYERS + 1.8, below + size / 2, kind, ha="right", va="center", size=9, color=color
        )
        below += size


def _part_passes(axes: Axes) -> None:
    axes.tick_params(axis="x", length=0, labelbottom=False)
    for end in (LAYERS, 2 * LAYERS):
        axes.axvline(end, color="#444444", linewidth=0.8, linestyle=":")


def _label_moments(axes: Axes, names: list[str]) -> None:
    """Labels the columns, and below those of a pass together."""
    axes.set_xticks(np.arange(len(names)) + 0.5, [name.split()[-1] for name in names], size=9)
    axes.tick_params(axis="x", labelbottom=True)
    for start, name in ((0, "forward, layer"), (LAYERS, "backward, layer")):
        middle, below = start + LAYERS / 2, axes.get_xaxis_transform()
        axes.text(middle, -0.13, name, transform=below, ha="center", va="top", size=9.5)


def _add_legend(figure: Figure) -> None:
    """Adds the title and the legend of all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure.text(0.025, 0.975, "Who holds what while two processes make a step", size=14, va="top")
    about = "Recorded: four layers with 1 MiB of parameters each, in float32, and Adam"
    figure.text(0.025, 0.952, about, va="top", color=GREY)
    entries: list[Any] = [Patch(facecolor=color, label=label) for color, label in HOLDERS.values()]
    entries += [Patch(facecolor="white", edgecolor="#999999", label="nobody holds it")]
    entries += [
        Line2D([], [], color="black", marker=mark, linestyle="", markersize=5, label=label)
        for mark, label in MARKS.values()
    ]
    figure.legend(
        handles=entries, loc="upper left", ncols=2, bbox_to_anchor=(0.015, 0.932), borderpad=0
    )
