"""Building a scene: the loss on a surface, and the runs' tracks on it."""

from collections.abc import Sequence

import numpy as np

from scratchopt.config.fields import UserError, as_typed
from scratchopt.playback.build_landscape import build_landscape
from scratchopt.playback.landscape import Landscape, evaluate_each
from scratchopt.playback.plane import principal_plane
from scratchopt.playback.recordings import Recording
from scratchopt.playback.scene import Scene, Track

FRAMES, OF_ALL = 300, 1_800  # at most, of a page and times its runs: they make up its size
PLANE_FRAMES = 100  # as each is two passes over the samples
LINE = 6_000  # records that are drawn, of all paths
GRID = {True: 121, False: 41}  # points a side; of a plane fewer, as each is a pass over the samples
PLANE_GRID = 25
BEYOND = 10  # times the first losses: what lies higher has diverged, and decides no window


def build_scene(recordings: Sequence[Recording]) -> Scene:
    """Builds the scene of runs that minimize the same loss.

    Raises:
        UserError: a loss that cannot be had, or paths that were never finite.
    """
    landscape = build_landscape(recordings[0])
    in_plane = recordings[0].layout.size > 2
    limit = min(PLANE_FRAMES if in_plane else FRAMES, OF_ALL // len(recordings))
    build = _build_in_plane if in_plane else _build_direct
    with np.errstate(over="ignore", invalid="ignore"):  # in runs that diverged
        return build(recordings, landscape, _choose_frame_steps(recordings, limit))


def _choose_frame_steps(recordings: Sequence[Recording], limit: int) -> np.ndarray:
    """Chooses all recorded steps, or some, the first ones densest, and the last of each run."""
    steps = np.unique(np.concatenate([r.steps for r in recordings]))
    if len(steps) <= limit:
        return steps
    chosen = np.round((len(steps) - 1) * np.linspace(0, 1, limit) ** 2).astype(int)
    return np.union1d(steps[chosen], [r.steps[-1] for r in recordings])


def _build_direct(
    recordings: Sequence[Recording], landscape: Landscape, frame_steps: np.ndarray
) -> Scene:
    """Builds the scene of one or two parameters: the function's graph or its contours."""
    size = recordings[0].layout.size
    every = [r.parameters(np.arange(len(r.steps))) for r in recordings]
    losses = [landscape.loss(theta) for theta in every]
    seen = _choose_window(np.concatenate(every)[_not_diverged(losses)], landscape.window)
    y = None
    if size == 1:
        low, high = _widen(seen[0], 1.0)  # somewhat further, for who zooms out
        x = np.linspace(low, high, 1201)
        surface = landscape.loss(x[:, None])
        inside = surface[(x >= seen[0, 0]) & (x <= seen[0, 1])]
        window = np.stack([seen[0], _widen(np.array([inside.min(), inside.max()]), 0.1)])
    else:
        window = seen
        x, y = (np.linspace(low, high, GRID[landscape.cheap]) for low, high in window)
        mesh = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        surface = (
            landscape.loss(mesh)
            if landscape.cheap
            else evaluate_each(landscape.loss, mesh, "surface")
        ).reshape(len(y), len(x))

    def locate(points: np.ndarray) -> np.ndarray:
        return points if size == 2 else np.column_stack([points, landscape.loss(points)])

    tracks = []
    for recording in recordings:
        rows, line = _rows(recording, frame_steps, LINE // len(recordings))
        gradient = recording.gradient(rows)
        step = -_learning_rates(recording, rows) * gradient
        velocity = recording.velocity(rows)
        if size == 1:
            step = np.column_stack([step, step * gradient])  # along the tangent
            velocity = np.column_stack([velocity, 0 * velocity])
        tracks.append(
            Track(
                recording=recording,
                rows=rows,
                positions=locate(recording.parameters(rows)),
                points=locate(recording.point(rows)),
                velocity=velocity,
                gradient_step=_shorten(step, window),
                line=locate(recording.parameters(line)),
                losses=landscape.loss(recording.parameters(rows)),
                plane_losses=None,
                curve=np.column_stack(
                    [recording.steps[line], landscape.loss(recording.parameters(line))]
                ),
                logged=_logged_losses(recording),
                fitted=_fit(recording, rows, landscape),
            )
        )
    return Scene(landscape, None, tracks, frame_steps, window, x, y, surface)


def _build_in_plane(
    recordings: Sequence[Recording], landscape: Landscape, frame_steps: np.ndarray
) -> Scene:
    """Builds the scene of more parameters, in the plane of their paths' principal components."""
    rows = [_rows(recording, frame_steps, 0)[0] for recording in recordings]
    points = [r.records["parameters"][shown] for r, shown in zip(recordings, rows, strict=True)]
    losses = [evaluate_each(landscape.loss, path, "loss along the path") for path in points]
    together = np.concatenate(points)[_not_diverged(losses)]
    plane = principal_plane(together)
    window = _choose_window(plane.project(together), None)
    x, y = (np.linspace(low, high, PLANE_GRID) for low, high in window)
    mesh = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)

    def on_the_plane(coordinates: np.ndarray) -> np.ndarray:
        places = (plane.place(place[None]) for place in coordinates)  # all would fill the memory
        return np.concatenate([landscape.loss(place) for place in places])

    tracks = []
    for recording, shown, path, true in zip(recordings, rows, points, losses, strict=True):
        positions = plane.project(path)
        nothing = np.full_like(positions, np.nan)
        tracks.append(
            Track(
                recording=recording,
                rows=shown,
                positions=positions,
                points=nothing,
                velocity=nothing,
                gradient_step=nothing,
                line=positions,
                losses=true,
                plane_losses=evaluate_each(on_the_plane, positions, "loss at the projections"),
                curve=np.column_stack([recording.steps[shown], true]),
                logged=_logged_losses(recording),
            )
        )
    surface = evaluate_each(on_the_plane, mesh, "loss over the plane").reshape(len(y), len(x))
    return Scene(landscape, plane, tracks, frame_steps, window, x, y, surface)


def _rows(
    recording: Recording, frame_steps: np.ndarray, more: int
) -> tuple[np.ndarray, np.ndarray]:
    """The records to show at the frames' steps, and with some more those of the path's line."""
    rows = np.unique(recording.row(frame_steps))
    count = len(recording.steps)
    return rows, np.union1d(rows, np.linspace(0, count - 1, min(count, more)).astype(int))


def _not_diverged(losses: list[np.ndarray]) -> np.ndarray:
    """Marks the points of all paths, one after another, that have not diverged."""
    every = np.concatenate(losses)
    floor = every[np.isfinite(every)].min(initial=np.inf)
    height = max((path[0] - floor for path in losses if np.isfinite(path[0])), default=0)
    low = every <= (floor + BEYOND * height if height else np.inf)
    if not low.any():
        raise UserError("none of these runs has a finite loss at any step: there is nothing to see")
    return low


def _fit(recording: Recording, rows: np.ndarray, landscape: Landscape) -> np.ndarray | None:
    if landscape.fit is None:
        return None
    return np.array([landscape.fit.predict(theta) for theta in recording.parameters(rows)])


def _shorten(arrows: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Shortens arrows, shape (k, 2), to a quarter of the window at most."""
    length = np.abs(arrows / np.diff(window).T).max(axis=1, keepdims=True)
    return arrows * np.minimum(1, 0.25 / np.maximum(length, 1e-300))


def _learning_rates(recording: Recording, rows: np.ndarray) -> np.ndarray:
    """The learning rate of each step, shape (k, 1); NaN, which draws no arrow, where none is known.

    Under a schedule it is that of the log, of the steps that were measured.
    """
    lr = recording.run.config["optimizer"].get("lr", np.nan)
    if not isinstance(lr, int | float):
        raise UserError(
            f"{recording.run.directory}: its optimizer.lr={as_typed(lr)} is no number; put a copy "
            "of .hydra/config.yaml back, or leave this run out"
        )
    if "train/lr" in recording.run.history:
        return recording.logged("train/lr", recording.steps[rows])[:, None]
    return np.full((len(rows), 1), float(lr))


def _logged_losses(recording: Recording) -> np.ndarray:
    pairs = np.array(recording.run.history.get("train/loss", ())).reshape(-1, 2)
    return pairs[np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), 1_000)).astype(int))]


def _choose_window(points: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Chooses (low, high) of each coordinate: the known, up to thrice as wide to see points."""
    points = points[np.isfinite(points).all(axis=1)]
    box = np.stack([points.min(axis=0), points.max(axis=0)], axis=1)
    if known is None:
        return np.stack([_widen(side, 0.15) for side in box])
    most = np.stack([_widen(side, 1.0) for side in known])
    margin = 0.05 * np.diff(known) * [-1, 1]
    outside = box != np.clip(box, known[:, :1], known[:, 1:])
    reached = np.clip(box + margin, most[:, :1], most[:, 1:])
    return np.where(outside, reached, known)


def _widen(side: np.ndarray, share: float) -> np.ndarray:
    """Widens a side (low, high) on both ends by a share of its width, or of itself."""
    width = side[1] - side[0]
    if not width > 1e-9 * np.abs(side).max():
        width = max(np.abs(side).max(), 1e-3)
    return side + share * width * np.array([-1, 1])
