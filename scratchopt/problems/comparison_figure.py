"""A picture of several descents on one function, one laid over the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchopt.pictures.curves import label_steps, set_log_scale
from scratchopt.pictures.style import GREY, PALETTE, house_style, new_figure
from scratchopt.problems.descent_figures import FIRST_STEPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scratchopt.problems.descent import Descent


@house_style()
def compare_descents(descents: Mapping[str, Descent]) -> Figure:
    """Draws several descents over their steps: the path on the left, the gradnorm on the right.

    The path is x before each of the first 50 steps; of more than one variable, the loss.

    Args:
        descents: on one function, by the name in the legend; at most seven.

    Raises:
        ValueError: descents on several functions, or more than there are colours.
    """
    found = {descent.function.name: descent.function for descent in descents.values()}
    if len(found) != 1 or len(descents) > len(PALETTE):
        raise ValueError(
            f"{len(descents)} descents on {', '.join(found) or 'no function'}: give one to "
            f"{len(PALETTE)}, all on one function"
        )
    [function] = found.values()
    figure, (path, norms) = new_figure(1, 2, (10.0, 4.0))
    alone = function.dim == 1
    for (name, descent), color in zip(descents.items(), PALETTE, strict=False):
        style: dict[str, Any] = {"color": color, "linewidth": 1.2, "label": name}
        dots: dict[str, Any] = {"marker": "o", "markersize": 3} if alone else {}
        path.plot(descent.iterates[:FIRST_STEPS, 0] if alone else descent.losses, **style, **dots)
        norms.plot(np.where(descent.gradnorms > 0, descent.gradnorms, np.nan), **style)
    if alone:
        for (place,) in function.minimizers:
            path.axhline(place, color=GREY, linestyle="--", linewidth=1, zorder=0)
    for axes in (norms,) if alone else (path, norms):
        drawn = np.concatenate([line.get_ydata() for line in axes.lines])
        set_log_scale(axes, decades=float(np.ptp(np.log10(drawn[drawn > 0]))))
    label_steps(path)
    label_steps(norms)
    path.set_xlabel(f"step, the first {FIRST_STEPS} at most" if alone else "step")
    path.set(ylabel="x" if alone else "loss", title=function.title)
    norms.set(ylabel="gradnorm ‖g‖")
    norms.legend(loc="best", fontsize=9)
    return figure
