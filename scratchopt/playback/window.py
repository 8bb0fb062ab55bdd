"""The part of a plane or a line that a picture shows."""

import numpy as np


def window_of(points: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """(low, high) of each coordinate: what is known, at most thrice as wide, to see the points."""
    points = points[np.isfinite(points).all(axis=1)]
    box = np.stack([points.min(axis=0), points.max(axis=0)], axis=1)
    if known is None:
        return np.stack([wider(side, 0.15) for side in box])
    most = np.stack([wider(side, 1.0) for side in known])
    margin = 0.05 * np.diff(known) * [-1, 1]
    outside = box != np.clip(box, known[:, :1], known[:, 1:])
    reached = np.clip(box + margin, most[:, :1], most[:, 1:])
    return np.where(outside, reached, known)


def wider(side: np.ndarray, share: float) -> np.ndarray:
    """A side (low, high) with a share of its width, or of itself, added on both ends."""
    width = side[1] - side[0]
    if not width > 1e-9 * np.abs(side).max():
        width = max(np.abs(side).max(), 1e-3)
    return side + share * width * np.array([-1, 1])
