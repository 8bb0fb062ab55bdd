"""Filled contours as Plotly's shapes: they lie still while frames of traces go by.

A contour trace would be drawn anew for each frame, or vanish with the first.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from contourpy import FillType, contour_generator

LEVELS = 14
DARK, PALE = np.array([141, 153, 166]), np.array([248, 249, 250])


def make_contours(
    x: np.ndarray, y: np.ndarray, loss: np.ndarray, minimum: float | None
) -> list[Any]:
    """Makes bands of the logarithm of the loss above its minimum, darker where it is lower.

    Args:
        x: of the columns, shape (p,).
        y: of the rows, shape (q,).
        loss: shape (q, p); what is not finite is left blank.
        minimum: of the loss; None, the least one there.
    """
    loss = np.where(np.isfinite(loss), loss, np.nan)
    excess = loss - (np.nanmin(loss) if minimum is None else minimum)
    floor = max(np.nanquantile(excess, 0.01), np.finfo(float).tiny)  # the lowest 1 % is one level
    depth = np.log(np.maximum(excess, floor))
    levels = np.linspace(np.nanmin(depth), np.nanmax(depth), LEVELS + 1)
    if not levels[-1] > levels[0]:  # a plain
        return []
    levels[0], levels[-1] = levels[0] - 1, levels[-1] + 1  # whatever rounding says, all is in one
    generator: Any = contour_generator(
        x, y, np.ma.masked_invalid(depth), fill_type=FillType.OuterOffset
    )
    return [
        {
            "type": "path",
            "path": path,
            "fillcolor": "rgb({}, {}, {})".format(
                *(DARK + (PALE - DARK) * i / (LEVELS - 1)).astype(int)
            ),
            "line": {"color": "white", "width": 0.6},
            "layer": "below",
        }
        for i in range(LEVELS)
        if (path := _path(*generator.filled(levels[i], levels[i + 1])))
    ]


def _path(polygons: list[np.ndarray], offsets: list[np.ndarray]) -> str:
    """Joins all rings of a band: the outer ones and, by the even-odd rule, their holes."""
    rings = [
        points[start:end]
        for points, ends in zip(polygons, offsets, strict=True)
        for start, end in pairwise(ends)
    ]
    return "".join("M" + "L".join(f"{a:.5g},{b:.5g}" for a, b in ring) + "Z" for ring in rings)
