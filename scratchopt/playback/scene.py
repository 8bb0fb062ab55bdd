"""What a page of playback shows, in numbers: the ground, the racers on it and their losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scratchopt.config.fields import UserError
from scratchopt.playback.landscape import Landscape, counted, landscape_of
from scratchopt.playback.paths import Recording
from scratchopt.playback.plane import Plane, principal_plane
from scratchopt.playback.window import wider, window_of

FRAMES, OF_ALL = 300, 1_800  # at most, of a page and times its runs: they make up its size
PLANE_FRAMES = 100  # as each is two passes over the samples
LINE = 6_000  # records that are drawn, of all paths
GRID = {True: 121, False: 41}  # points a side; of a plane fewer, as each is a pass over the samples
PLANE_GRID = 25
BEYOND = 10  # times the first losses: what lies higher has diverged, and decides no window


@dataclass(frozen=True)
class Racer:
    """A run on the ground. Arrays are of its records that are shown, k of them, unless said.

    Args:
        recording: what it comes of.
        rows: which records.
        places: of θ, shape (k, 2).
        points: of the evaluated point, shape (k, 2).
        velocity: from θ to the next one, shape (k, 2).
        pull: −lr·gradient, shape (k, 2).
        line: places of the whole path, shape (any, 2).
        losses: at the evaluated point for a function, at θ for a task; shape (k,).
        flat: the loss at θ's projection into the plane, shape (k,); None without a plane.
        curve: (step, loss) of the whole path, shape (any, 2).
        logged: (step, train/loss), shape (any, 2).
    """

    recording: Recording
    rows: np.ndarray
    places: np.ndarray
    points: np.ndarray
    velocity: np.ndarray
    pull: np.ndarray
    line: np.ndarray
    losses: np.ndarray
    flat: np.ndarray | None
    curve: np.ndarray
    logged: np.ndarray


@dataclass(frozen=True)
class Scene:
    """All that a page shows.

    Args:
        landscape: whose loss it is.
        plane: of the paths; None where the parameters are no more than two.
        racers: the runs.
        moments: the steps to be seen one after another, rising.
        window: (low, high) of x and y, shape (2, 2).
        x: of the ground, shape (p,).
        y: of the ground, shape (q,); None for a function of one variable.
        ground: the loss there, shape (q, p) or (p,).
    """

    landscape: Landscape
    plane: Plane | None
    racers: list[Racer]
    moments: np.ndarray
    window: np.ndarray
    x: np.ndarray
    y: np.ndarray | None
    ground: np.ndarray

    @property
    def discrepancies(self) -> np.ndarray:
        """|loss − the plane's loss| over all records shown of which both are finite."""
        gaps = [np.abs(r.losses - r.flat) for r in self.racers if r.flat is not None]
        return (found := np.concatenate(gaps))[np.isfinite(found)]


def scene_of(recordings: Sequence[Recording]) -> Scene:
    """The scene of runs that minimize the same loss.

    Raises:
        UserError: a loss that cannot be had, or paths that were never finite.
    """
    landscape = landscape_of(recordings[0])
    flat = recordings[0].layout.size > 2
    limit = min(PLANE_FRAMES if flat else FRAMES, OF_ALL // len(recordings))
    make = _in_a_plane if flat else _as_it_is
    with np.errstate(over="ignore", invalid="ignore"):  # of runs that diverged
        return make(recordings, landscape, _moments(recordings, limit))


def _moments(recordings: Sequence[Recording], limit: int) -> np.ndarray:
    """All recorded steps, or some of them, the first ones densest, and the last of each run."""
    steps = np.unique(np.concatenate([r.steps for r in recordings]))
    if len(steps) <= limit:
        return steps
    chosen = np.round((len(steps) - 1) * np.linspace(0, 1, limit) ** 2).astype(int)
    return np.union1d(steps[chosen], [r.steps[-1] for r in recordings])


def _as_it_is(recordings: Sequence[Recording], landscape: Landscape, moments: np.ndarray) -> Scene:
    """Of one or two parameters: the function's graph or its contours."""
    size = recordings[0].layout.size
    every = [r.parameters(np.arange(len(r.steps))) for r in recordings]
    losses = [landscape.loss(theta) for theta in every]
    seen = window_of(np.concatenate(every)[_low(losses)], landscape.window)
    y = None
    if size == 1:
        low, high = wider(seen[0], 1.0)  # somewhat further, for who zooms out
        x = np.linspace(low, high, 1201)
        ground = landscape.loss(x[:, None])
        inside = ground[(x >= seen[0, 0]) & (x <= seen[0, 1])]
        window = np.stack([seen[0], wider(np.array([inside.min(), inside.max()]), 0.1)])
    else:
        window = seen
        x, y = (np.linspace(low, high, GRID[landscape.cheap]) for low, high in window)
        mesh = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        ground = (
            landscape.loss(mesh) if landscape.cheap else counted(landscape.loss, mesh, "surface")
        ).reshape(len(y), len(x))

    def places(points: np.ndarray) -> np.ndarray:
        return points if size == 2 else np.column_stack([points, landscape.loss(points)])

    racers = []
    for recording in recordings:
        rows, line = _rows(recording, moments, LINE // len(recordings))
        gradient = recording.gradient(rows)
        pull, velocity = -_lr(recording) * gradient, recording.velocity(rows)
        if size == 1:
            pull = np.column_stack([pull, pull * gradient])  # along the tangent
            velocity = np.column_stack([velocity, 0 * velocity])
        racers.append(
            Racer(
                recording=recording,
                rows=rows,
                places=places(recording.parameters(rows)),
                points=places(recording.point(rows)),
                velocity=velocity,
                pull=_short(pull, window),
                line=places(recording.parameters(line)),
                losses=landscape.loss(_measured(recording, rows, landscape)),
                flat=None,
                curve=np.column_stack(
                    [recording.steps[line], landscape.loss(_measured(recording, line, landscape))]
                ),
                logged=_logged(recording),
            )
        )
    return Scene(landscape, None, racers, moments, window, x, y, ground)


def _in_a_plane(
    recordings: Sequence[Recording], landscape: Landscape, moments: np.ndarray
) -> Scene:
    """Of more parameters: the plane of the paths' two first principal components."""
    rows = [_rows(recording, moments, 0)[0] for recording in recordings]
    points = [r.records["parameters"][shown] for r, shown in zip(recordings, rows, strict=True)]
    losses = [counted(landscape.loss, path, "loss along the path") for path in points]
    together = np.concatenate(points)[_low(losses)]
    plane = principal_plane(together)
    window = window_of(plane.project(together), None)
    x, y = (np.linspace(low, high, PLANE_GRID) for low, high in window)
    mesh = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)

    def on_the_plane(coordinates: np.ndarray) -> np.ndarray:
        places = (plane.place(place[None]) for place in coordinates)  # all would fill the memory
        return np.concatenate([landscape.loss(place) for place in places])

    racers = []
    for recording, shown, path, true in zip(recordings, rows, points, losses, strict=True):
        places = plane.project(path)
        nothing = np.full_like(places, np.nan)
        racers.append(
            Racer(
                recording=recording,
                rows=shown,
                places=places,
                points=nothing,
                velocity=nothing,
                pull=nothing,
                line=places,
                losses=true,
                flat=counted(on_the_plane, places, "loss at the projections"),
                curve=np.column_stack([recording.steps[shown], true]),
                logged=_logged(recording),
            )
        )
    ground = counted(on_the_plane, mesh, "loss over the plane").reshape(len(y), len(x))
    return Scene(landscape, plane, racers, moments, window, x, y, ground)


def _rows(recording: Recording, moments: np.ndarray, more: int) -> tuple[np.ndarray, np.ndarray]:
    """The records to be seen at the moments, and with some more those of the path's line."""
    rows = np.unique(recording.row(moments))
    count = len(recording.steps)
    return rows, np.union1d(rows, np.linspace(0, count - 1, min(count, more)).astype(int))


def _low(losses: list[np.ndarray]) -> np.ndarray:
    """Which points of all paths, one after another, have not diverged."""
    every = np.concatenate(losses)
    floor = every[np.isfinite(every)].min(initial=np.inf)
    height = max((path[0] - floor for path in losses if np.isfinite(path[0])), default=0)
    low = every <= (floor + BEYOND * height if height else np.inf)
    if not low.any():
        raise UserError("none of these runs has a finite loss at any step: there is nothing to see")
    return low


def _measured(recording: Recording, rows: np.ndarray, landscape: Landscape) -> np.ndarray:
    """Where the loss was logged, of a function; else θ, as a batch's loss is another anyway."""
    theta, point = recording.parameters(rows), recording.point(rows)
    return np.where(np.isnan(point), theta, point) if landscape.cheap else theta


def _short(arrows: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Arrows of shape (k, 2), none longer than a quarter of the window."""
    length = np.abs(arrows / np.diff(window).T).max(axis=1, keepdims=True)
    return arrows * np.minimum(1, 0.25 / np.maximum(length, 1e-300))


def _lr(recording: Recording) -> float:
    """NaN, which draws no arrow, where the optimizer has none."""
    return float(recording.run.config["optimizer"].get("lr", np.nan))


def _logged(recording: Recording) -> np.ndarray:
    pairs = np.array(recording.run.history.get("train/loss", ())).reshape(-1, 2)
    return pairs[np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), 1_000)).astype(int))]
