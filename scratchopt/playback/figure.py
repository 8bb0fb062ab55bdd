"""The figure of a scene: Plotly traces that stay, frames that move the markers, a slider."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scratchopt.pictures.style import AMBER, BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY
from scratchopt.playback.contours import contours
from scratchopt.playback.readings import readings
from scratchopt.playback.scene import Scene

# With a shape of its own, each is told apart without colour, too.
COLOURS = [BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, BLACK]
SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "hexagram"]
MOVING = 6  # traces of a racer that move; of them θ's marker comes last
TAIL = 8  # records behind the marker
LOSS = {"xaxis": "x2", "yaxis": "y2"}

Trace = dict[str, Any]


def figure(scene: Scene) -> dict[str, Any]:
    """The figure, as `plotly.io.to_html` takes it."""
    view = _View(scene)
    still = [*_ground(scene), *(trace for i in range(len(scene.racers)) for trace in view.still(i))]
    moving = range(len(still), len(still) + MOVING * len(scene.racers))
    frames = [
        {
            "name": str(step),
            "traces": list(moving),
            "data": [trace for i in range(len(scene.racers)) for trace in view.at(i, int(step))],
        }
        for step in scene.moments
    ]
    looks = [look for i in range(len(scene.racers)) for look in view.looks(i)]
    first = [look | place for look, place in zip(looks, frames[0]["data"], strict=True)]
    return {"data": [*still, *first], "frames": frames, "layout": _layout(scene, view)}


class _View:
    """The scene's numbers where Plotly can draw them: nothing infinite, nothing far outside."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.minimum = scene.landscape.minimum
        curves = [self._above(r.curve[:, 1]) for r in scene.racers]
        found = np.concatenate([*curves, *(self._above(r.flat) for r in scene.racers)])
        found = found[np.isfinite(found)]
        first = [c[0] for c in curves if np.isfinite(c[0])]
        top = max(first) if first else float(found.max())
        low = found[found <= 10 * abs(top)]
        positive = low[low > 0]
        self.log = bool((low >= 0).all() and len(positive) and positive.max() > 10 * positive.min())
        self.range = np.array([low.min(), low.max()])
        if self.log:
            self.range = np.log10([positive.min(), positive.max()])
        self.range += (0.05 * np.ptp(self.range) or 1.0) * np.array([-1, 1])
        self.texts = [readings(scene, racer) for racer in scene.racers]
        self.heights = [self.height(r.losses) for r in scene.racers]

    def _above(self, losses: np.ndarray | None) -> np.ndarray:
        """The losses above the minimum, if that is known."""
        return np.empty(0) if losses is None else losses - (self.minimum or 0.0)

    def height(self, losses: np.ndarray) -> np.ndarray:
        """On the axis of losses; what is at or beneath the scale's end lies at the end."""
        above, (low, high) = self._above(losses), self.range
        if self.log:
            with np.errstate(divide="ignore"):
                return 10 ** np.clip(np.log10(np.maximum(above, 0)), low, high + 3 * (high - low))
        return np.clip(above, low, high + 3 * (high - low))

    def place(self, places: np.ndarray) -> Trace:
        """The keys x and y of a trace."""
        low, high = self.scene.window.T
        inside = np.clip(places, low - 3 * (high - low), high + 3 * (high - low))
        return {"x": _numbers(inside[:, 0]), "y": _numbers(inside[:, 1])}

    def still(self, i: int) -> list[Trace]:
        """What a racer leaves lying: its path and its losses."""
        racer, colour = self.scene.racers[i], COLOURS[i % len(COLOURS)]
        common = {"type": "scatter", "legendgroup": str(i), "showlegend": False}
        thin = common | {"mode": "lines", "hoverinfo": "skip"}
        dots = common | {"mode": "markers", "opacity": 0.3}
        pale = {"line": {"color": colour, "width": 1}, "opacity": 0.35}
        dot = {"marker": {"color": colour, "size": 4, "symbol": SHAPES[i % len(SHAPES)]}}
        steps, losses = racer.curve.T
        traces = [
            thin | pale | self.place(racer.line if self.scene.y is not None else racer.line[:0]),
            dots | dot | self.place(racer.places) | {"hoverinfo": "skip"},
            thin
            | LOSS
            | {"line": {"color": colour, "width": 1.5}, "opacity": 0.6}
            | {"x": _numbers(steps), "y": _numbers(self.height(losses))},
            dots
            | dot
            | LOSS
            | {"x": _numbers(racer.recording.steps[racer.rows]), "y": _numbers(self.heights[i])}
            | {"hoverinfo": "text", "hovertext": self.texts[i]},
        ]
        if not self.scene.landscape.cheap:
            steps, losses = racer.logged.T
            ends = {"x": _numbers(steps), "y": _numbers(self.height(losses))}
            faint = {"line": {"color": colour, "width": 1}, "opacity": 0.2}
            traces.append(thin | LOSS | faint | ends)
        if racer.flat is not None:
            dashed = {"line": {"color": colour, "width": 1.5, "dash": "dash"}, "opacity": 0.8}
            ends = {"x": _numbers(racer.recording.steps[racer.rows])}
            traces.append(thin | LOSS | dashed | ends | {"y": _numbers(self.height(racer.flat))})
        return traces

    def looks(self, i: int) -> list[Trace]:
        """The traces of a racer that move, without their places."""
        colour, shape = COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)]
        common = {"type": "scatter", "legendgroup": str(i), "showlegend": False}
        skipped = common | {"mode": "lines", "hoverinfo": "skip"}
        marker = common | {"mode": "markers", "hoverinfo": "skip"}
        tip = {"symbol": ["circle", "arrow"], "size": [0, 11], "angleref": "previous"}
        arrow = skipped | {"mode": "lines+markers"}
        arrow |= {"marker": tip | {"color": colour, "opacity": 1}}
        return [
            skipped | {"line": {"color": colour, "width": 2}, "opacity": 0.5},
            arrow | {"line": {"color": colour, "width": 2.5}},
            arrow | {"line": {"color": colour, "width": 2, "dash": "dot"}},
            marker | {"marker": _marker(f"{shape}-open", 12, colour, colour)},
            marker | LOSS | {"marker": _marker(shape, 10, colour, "white")},
            marker
            | {"marker": _marker(shape, 13, colour, "white"), "showlegend": True}
            | {"hoverinfo": "text", "name": self.scene.racers[i].recording.label},
        ]

    def at(self, i: int, step: int) -> list[Trace]:
        """Their places at a step."""
        racer = self.scene.racers[i]
        j = int(np.searchsorted(racer.rows, racer.recording.row(np.array([step]))[0]))
        here, tail = slice(j, j + 1), slice(max(0, j - TAIL), j + 1)
        place, point = racer.places[j], racer.points[j]
        text = {"hovertext": [self.texts[i][j]]}
        ahead = not np.array_equal(place, point)
        time = {"x": [int(racer.recording.steps[racer.rows[j]])]}
        return [
            self.place(racer.places[tail]),
            self.place(np.array([place, place + racer.velocity[j]])),
            self.place(np.array([point, point + racer.pull[j]])),
            self.place(racer.points[here] if ahead else racer.points[:0]),
            time | {"y": _numbers(self.heights[i][here])},
            self.place(racer.places[here]) | text,
        ]


def _ground(scene: Scene) -> list[Trace]:
    """The graph of a function of one variable, and what is known of minima."""
    landscape, traces = scene.landscape, []
    if scene.y is None:
        line = {"color": "#888888", "width": 1.5, "simplify": False}
        ends = {"x": _numbers(scene.x), "y": _numbers(scene.ground)}
        still = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
        traces.append({"type": "scatter", "line": line} | still | ends)
    if len(landscape.minimizers):
        places = landscape.minimizers
        if scene.y is None:
            places = np.column_stack([places, landscape.loss(places)])
        ring = {"symbol": "circle-open", "size": 18, "color": "#555555", "line": {"width": 2}}
        ends = {"x": _numbers(places[:, 0]), "y": _numbers(places[:, 1]), "marker": ring}
        rings = {"type": "scatter", "mode": "markers", "hoverinfo": "skip", "name": "minimum"}
        traces.append(rings | ends)
    return traces


def _log_axis(span: np.ndarray) -> dict[str, Any]:
    """Labels 10⁻⁸ 10⁻⁴ 1, or over less than two decades 0.1 0.2 0.5 1."""
    if np.ptp(span) >= 2:
        return {"type": "log", "exponentformat": "power"}
    decades = np.arange(np.floor(span[0]), np.ceil(span[1]))
    ticks = [m * 10.0**k for k in decades for m in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _layout(scene: Scene, view: _View) -> dict[str, Any]:
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
        bands = contours(scene.x, scene.y, scene.ground, scene.landscape.minimum)
    last = float(scene.moments[-1])
    jump = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}
    jump |= {"transition": {"duration": 0}}
    return {
        "xaxis": ground | {"title": _titled(names[0]), "range": _numbers(scene.window[0])},
        "yaxis": ground | {"title": _titled(names[1]), "range": _numbers(scene.window[1])},
        "xaxis2": axis
        | {"title": _titled("step"), "range": [-0.02 * last, 1.02 * max(last, 1.0)]}
        | {"anchor": "y2"},
        "yaxis2": axis
        | {"title": _titled(height), "range": _numbers(view.range), "anchor": "x2"}
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
                "active": 0,
                "currentvalue": {"prefix": "step "},
                "pad": {"t": 45},
                "steps": [
                    {"label": f"{step:,}", "method": "animate", "args": [[str(step)], jump]}
                    for step in scene.moments
                ],
            }
        ],
    }


def _titled(text: str) -> dict[str, Any]:
    return {"text": text, "standoff": 6}


def _marker(symbol: str, size: int, colour: str, edge: str) -> dict[str, Any]:
    line = {"width": 2.5 if symbol.endswith("open") else 1.2, "color": edge}
    return {"symbol": symbol, "size": size, "color": colour, "line": line, "opacity": 1}


def _numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Plain numbers of seven digits, None where there is none."""
    array = np.asarray(values, float)
    return [float(f"{x:.7g}") if np.isfinite(x) else None for x in array.tolist()]
