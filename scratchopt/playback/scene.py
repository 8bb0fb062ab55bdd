"""The scene of a page of playback, in numbers: a surface, the runs' tracks on it, their losses."""

from dataclasses import dataclass

import numpy as np

from scratchopt.playback.landscape import Landscape
from scratchopt.playback.plane import Plane
from scratchopt.playback.recordings import Recording


@dataclass(frozen=True)
class Track:
    """The track of a run on the surface. Arrays have its k records that are shown, unless noted.

    Args:
        recording: of the run.
        rows: indices of the records.
        positions: of θ in the picture, shape (k, 2).
        points: positions of the evaluated point, shape (k, 2).
        velocity: from θ to the next one, shape (k, 2).
        gradient_step: −lr·gradient, shape (k, 2).
        line: positions of the whole path, shape (any, 2).
        losses: at θ, shape (k,).
        plane_losses: the loss at θ's projection into the plane, shape (k,); None without a plane.
        curve: (step, loss) of the whole path, shape (any, 2).
        logged: (step, train/loss), shape (any, 2).
        fitted: the model's y over the data at θ, shape (k, g); None if the task shows no data.
    """

    recording: Recording
    rows: np.ndarray
    positions: np.ndarray
    points: np.ndarray
    velocity: np.ndarray
    gradient_step: np.ndarray
    line: np.ndarray
    losses: np.ndarray
    plane_losses: np.ndarray | None
    curve: np.ndarray
    logged: np.ndarray
    fitted: np.ndarray | None = None

    def row(self, step: int) -> int:
        """The index, among those that are shown, of the record in force at a step."""
        return int(np.searchsorted(self.rows, self.recording.row(np.array([step]))[0]))


@dataclass(frozen=True)
class Scene:
    """Everything that a page shows.

    Args:
        landscape: whose loss it is.
        plane: of the paths; None where the parameters are no more than two.
        tracks: the runs.
        frame_steps: the steps that are shown one after another, rising.
        window: (low, high) of x and y, shape (2, 2).
        x: of the surface, shape (p,).
        y: of the surface, shape (q,); None for a function of one variable.
        surface: the loss there, shape (q, p) or (p,).
    """

    landscape: Landscape
    plane: Plane | None
    tracks: list[Track]
    frame_steps: np.ndarray
    window: np.ndarray
    x: np.ndarray
    y: np.ndarray | None
    surface: np.ndarray

    @property
    def opening(self) -> int:
        """The frame to open at: the first whose markers are apart, else that where they are most.

        Apart is a twentieth of the window, of the two that are nearest to each other.
        """
        if len(self.tracks) == 1:
            return 0
        gaps = np.array([self._gap(step) for step in self.frame_steps])
        apart = np.flatnonzero(gaps > 0.05)
        return int(apart[0] if len(apart) else gaps.argmax())

    def _gap(self, step: int) -> float:
        """The distance of the two markers that are nearest to each other, in windows."""
        places = np.array([track.positions[track.row(step)] for track in self.tracks])
        places = (places / np.diff(self.window).T)[np.isfinite(places).all(axis=1)]
        gaps = np.abs(places[:, None] - places).max(axis=-1)
        return float(gaps[np.triu_indices(len(places), 1)].min(initial=np.inf))

    @property
    def discrepancies(self) -> np.ndarray:
        """|loss − the plane's loss| over all records shown of which both are finite."""
        gaps = [
            np.abs(r.losses - r.plane_losses) for r in self.tracks if r.plane_losses is not None
        ]
        return (found := np.concatenate(gaps))[np.isfinite(found)]
