"""The traces of a figure: those that stay, and those that move with the slider."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from scratchopt.pictures.style import AMBER, BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY
from scratchopt.playback.hover_text import hover_texts
from scratchopt.playback.scene import Scene

# With a shape of its own, each is told apart without colour, too.
COLOURS = [BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, BLACK]
SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "hexagram"]
MOVING = 6  # traces of a track that move, the last of them θ's marker; with data one more
TAIL = 8  # records behind the marker
LOSS, FIT = {"xaxis": "x2", "yaxis": "y2"}, {"xaxis": "x3", "yaxis": "y3"}

Trace = dict[str, Any]


class View:
    """The scene's numbers where Plotly can draw them: nothing infinite, nothing far outside."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.minimum = scene.landscape.minimum
        curves = [self._above(r.curve[:, 1]) for r in scene.tracks]
        found = np.concatenate([*curves, *(self._above(r.plane_losses) for r in scene.tracks)])
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
        self.texts = [hover_texts(scene, track) for track in scene.tracks]
        self.heights = [self.height(r.losses) for r in scene.tracks]

    def _above(self, losses: np.ndarray | None) -> np.ndarray:
        """The losses above the minimum, if that is known."""
        return np.empty(0) if losses is None else losses - (self.minimum or 0.0)

    def height(self, losses: np.ndarray) -> np.ndarray:
        """The height on the axis of losses; what is at or beneath its end lies at the end."""
        above, (low, high) = self._above(losses), self.range
        if self.log:
            with np.errstate(divide="ignore"):
                return 10 ** np.clip(np.log10(np.maximum(above, 0)), low, high + 3 * (high - low))
        return np.clip(above, low, high + 3 * (high - low))

    def locate(self, positions: np.ndarray) -> Trace:
        """The keys x and y of a trace."""
        low, high = self.scene.window.T
        inside = np.clip(positions, low - 3 * (high - low), high + 3 * (high - low))
        return {"x": round_numbers(inside[:, 0]), "y": round_numbers(inside[:, 1])}

    def still_traces(self, i: int) -> list[Trace]:
        """Makes the traces that stay: the path and the losses."""
        track, colour = self.scene.tracks[i], COLOURS[i % len(COLOURS)]
        common = {"type": "scatter", "legendgroup": str(i), "showlegend": False}
        thin = common | {"mode": "lines", "hoverinfo": "skip"}
        dots = common | {"mode": "markers", "opacity": 0.3}
        pale = {"line": {"color": colour, "width": 1}, "opacity": 0.35}
        dot = {"marker": {"color": colour, "size": 4, "symbol": SHAPES[i % len(SHAPES)]}}
        steps, losses = track.curve.T
        traces = [
            thin | pale | self.locate(track.line if self.scene.y is not None else track.line[:0]),
            dots | dot | self.locate(track.positions) | {"hoverinfo": "skip"},
            thin
            | LOSS
            | {"line": {"color": colour, "width": 1.5}, "opacity": 0.6}
            | {"x": round_numbers(steps), "y": round_numbers(self.height(losses))},
            dots
            | dot
            | LOSS
            | {
                "x": round_numbers(track.recording.steps[track.rows]),
                "y": round_numbers(self.heights[i]),
            }
            | {"hoverinfo": "text", "hovertext": self.texts[i]},
        ]
        steps, losses = track.logged.T
        ends = {"x": round_numbers(steps), "y": round_numbers(self.height(losses))}
        faint = {"line": {"color": colour, "width": 1}, "opacity": 0.2}
        traces.append(thin | LOSS | faint | ends)
        if track.plane_losses is not None:
            dashed = {"line": {"color": colour, "width": 1.5, "dash": "dash"}, "opacity": 0.8}
            ends = {"x": round_numbers(track.recording.steps[track.rows])}
            traces.append(
                thin | LOSS | dashed | ends | {"y": round_numbers(self.height(track.plane_losses))}
            )
        return traces

    def moving_traces(self, i: int) -> list[Trace]:
        """Makes the traces that move, without their positions."""
        colour, shape = COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)]
        common = {"type": "scatter", "legendgroup": str(i), "showlegend": False}
        skipped = common | {"mode": "lines", "hoverinfo": "skip"}
        marker = common | {"mode": "markers", "hoverinfo": "skip"}
        tip = {"symbol": ["circle", "arrow"], "size": [0, 11], "angleref": "previous"}
        arrow = skipped | {"mode": "lines+markers"}
        arrow |= {"marker": tip | {"color": colour, "opacity": 1}}
        fit = [skipped | FIT | {"line": {"color": colour, "width": 2.5}}]
        return [
            *(fit if self.scene.landscape.fit is not None else []),
            skipped | {"line": {"color": colour, "width": 2}, "opacity": 0.5},
            arrow | {"line": {"color": colour, "width": 2.5}},
            arrow | {"line": {"color": colour, "width": 2, "dash": "dot"}},
            marker | {"marker": _marker(f"{shape}-open", 12, colour, colour)},
            marker | LOSS | {"marker": _marker(shape, 10, colour, "white")},
            marker
            | {"marker": _marker(shape, 13, colour, "white"), "showlegend": True}
            # Plotly reads a name as HTML
            | {"hoverinfo": "text", "name": escape(self.scene.tracks[i].recording.label, False)},
        ]

    def positions_at(self, i: int, step: int) -> list[Trace]:
        """Makes the positions of the moving traces at a step."""
        track = self.scene.tracks[i]
        j = track.row(step)
        here, tail = slice(j, j + 1), slice(max(0, j - TAIL), j + 1)
        place, point = track.positions[j], track.points[j]
        text = {"hovertext": [self.texts[i][j]]}
        ahead = not np.array_equal(place, point)
        time = {"x": [int(track.recording.steps[track.rows[j]])]}
        fit = self.scene.landscape.fit
        fitted = [] if fit is None or track.fitted is None else [_line(fit.grid, track.fitted[j])]
        return [
            *fitted,
            self.locate(track.positions[tail]),
            self.locate(np.array([place, place + track.velocity[j]])),
            self.locate(np.array([point, point + track.gradient_step[j]])),
            self.locate(track.points[here] if ahead else track.points[:0]),
            time | {"y": round_numbers(self.heights[i][here])},
            self.locate(track.positions[here]) | text,
        ]


def make_surface(scene: Scene) -> list[Trace]:
    """Makes the graph of a function of one variable, and the rings of known minima."""
    landscape, traces = scene.landscape, []
    if landscape.fit is not None:
        dots = {"color": "#555555", "size": 4, "opacity": 0.6}
        data = {"type": "scatter", "mode": "markers", "hoverinfo": "skip", "showlegend": False}
        traces.append(data | FIT | {"marker": dots} | _line(landscape.fit.x, landscape.fit.y))
    if scene.y is None:
        line = {"color": "#888888", "width": 1.5, "simplify": False}
        ends = {"x": round_numbers(scene.x), "y": round_numbers(scene.surface)}
        still = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
        traces.append({"type": "scatter", "line": line} | still | ends)
    if len(landscape.minimizers):
        places = landscape.minimizers
        if scene.y is None:
            places = np.column_stack([places, landscape.loss(places)])
        ring = {"symbol": "circle-open", "size": 18, "color": "#555555", "line": {"width": 2}}
        ends = {"x": round_numbers(places[:, 0]), "y": round_numbers(places[:, 1]), "marker": ring}
        rings = {"type": "scatter", "mode": "markers", "hoverinfo": "skip", "name": "minimum"}
        traces.append(rings | ends)
    return traces


def _line(x: np.ndarray, y: np.ndarray) -> Trace:
    return {"x": round_numbers(x), "y": round_numbers(np.clip(y, -1e30, 1e30))}


def _marker(symbol: str, size: int, colour: str, edge: str) -> dict[str, Any]:
    line = {"width": 2.5 if symbol.endswith("open") else 1.2, "color": edge}
    return {"symbol": symbol, "size": size, "color": colour, "line": line, "opacity": 1}


def round_numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Rounds numbers to seven digits; None stands for one that is not finite."""
    array = np.asarray(values, float)
    return [float(f"{x:.7g}") if np.isfinite(x) else None for x in array.tolist()]
