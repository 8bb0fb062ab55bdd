"""The figure of a scene: Plotly traces that stay, frames that move the markers, and a slider."""

from typing import Any

import numpy as np

from scratchopt.playback.contours import make_contours
from scratchopt.playback.scene import Scene
from scratchopt.playback.traces import MOVING, View, make_surface, round_numbers


def build_figure(scene: Scene) -> dict[str, Any]:
    """Builds the figure, as `plotly.io.to_html` takes it."""
    view = View(scene)
    numbers = range(len(scene.tracks))
    still = [*make_surface(scene), *(trace for i in numbers for trace in view.still_traces(i))]
    each = MOVING + (scene.landscape.fit is not None)
    moving = range(len(still), len(still) + each * len(scene.tracks))
    frames = [
        {
            "name": str(step),
            "traces": list(moving),
            "data": [trace for i in numbers for trace in view.positions_at(i, int(step))],
        }
        for step in scene.frame_steps
    ]
    moving_traces = [trace for i in numbers for trace in view.moving_traces(i)]
    first = [a | b for a, b in zip(moving_traces, frames[scene.opening]["data"], strict=True)]
    return {"data": [*still, *first], "frames": frames, "layout": _layout(scene, view)}


def _log_axis(span: np.ndarray) -> dict[str, Any]:
    """Labels an axis 10⁻⁸ 10⁻⁴ 1, or over less than two decades 0.1 0.2 0.5 1."""
    if np.ptp(span) >= 2:
        return {"type": "log", "exponentformat": "power"}
    decades = np.arange(np.floor(span[0]), np.ceil(span[1]))
    ticks = [m * 10.0**k for k in decades for m in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _layout(scene: Scene, view: View) -> dict[str, Any]:
    names = scene.landscape.axes
    if scene.plane is not None:
        share = scene.plane.explained
        names = [f"principal direction {i + 1} ({share[i]:.1%})" for i in range(2)]
    elif len(names) == 1:
        names = [*names, "f" if scene.landscape.cheap else "loss"]
    height = "loss − minimum" if view.minimum is not None else "loss"
    axis = {"gridcolor": "#ececec", "zeroline": False, "linecolor": "#888888", "showline": True}
    axis |= {"automargin": True}
    ground, bands = axis, []
    if scene.y is not None:
        ground = axis | {"showgrid": False}
        bands = make_contours(scene.x, scene.y, scene.surface, scene.landscape.minimum)
    last = float(scene.frame_steps[-1])
    jump = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}
    jump |= {"transition": {"duration": 0}}
    fit: dict[str, Any] = {}
    if scene.landscape.fit is not None:
        y = scene.landscape.fit.y
        margin = 0.15 * np.ptp(y)
        span = round_numbers([y.min() - margin, y.max() + margin])
        fit["xaxis3"] = axis | {"title": _axis_title("data x"), "anchor": "y3"}
        fit["yaxis3"] = axis | {"title": _axis_title("data y"), "anchor": "x3", "range": span}
    return fit | {
        "xaxis": ground | {"title": _axis_title(names[0]), "range": round_numbers(scene.window[0])},
        "yaxis": ground | {"title": _axis_title(names[1]), "range": round_numbers(scene.window[1])},
        "xaxis2": axis
        | {"title": _axis_title("step"), "range": [-0.02 * last, 1.02 * max(last, 1.0)]}
        | {"anchor": "y2"},
        "yaxis2": axis
        | {"title": _axis_title(height), "range": round_numbers(view.range), "anchor": "x2"}
        | (_log_axis(view.range) if view.log else {}),
        "shapes": bands,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"align": "left", "font": {"family": "monospace", "size": 12}},
        "hovermode": "closest",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222222"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 60, "r": 20, "t": 40, "b": 40},
        "sliders": [
            {
                "active": scene.opening,
                "currentvalue": {"prefix": "step "},
                "pad": {"t": 45},
                "steps": [
                    {"label": f"{step:,}", "method": "animate", "args": [[str(step)], jump]}
                    for step in scene.frame_steps
                ],
            }
        ],
    }


def _axis_title(text: str) -> dict[str, Any]:
    return {"text": text, "standoff": 6}
