"""The plane in parameter space in which paths lie best, and what it hides of them."""

from dataclasses import dataclass

import numpy as np

BLOCK = 2**22  # numbers that are float64 at once


@dataclass(frozen=True)
class Plane:
    """A plane in ℝⁿ, with coordinates in the unit of the parameters.

    Args:
        origin: shape (n,).
        directions: orthonormal, shape (2, n).
        explained: the share of the points' variance along each direction, shape (2,).
    """

    origin: np.ndarray
    directions: np.ndarray
    explained: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """The coordinates, shape (k, 2), of the places nearest to points of shape (k, n)."""
        return np.array([(point - self.origin) @ self.directions.T for point in points])

    def place(self, coordinates: np.ndarray) -> np.ndarray:
        """The points of ℝⁿ at coordinates of shape (k, 2)."""
        return self.origin + coordinates @ self.directions


def principal_plane(points: np.ndarray) -> Plane:
    """Fits the plane through the mean of points, (k, n), along their first principal components.

    The components come from the points' products with each other, a k×k matrix, in float64: k is
    small and n may be millions.

    Reference: Li, Xu, Taylor, Studer and Goldstein, "Visualizing the Loss Landscape of Neural
    Nets", arXiv:1712.09913, section 7 (there the components are of the differences to the last
    point, which is the origin).
    """
    origin = points.mean(axis=0, dtype=np.float64)
    width = max(1, BLOCK // len(points))
    blocks = [slice(i, i + width) for i in range(0, len(origin), width)]
    products = sum((centred := points[:, block] - origin[block]) @ centred.T for block in blocks)
    squares, vectors = np.linalg.eigh(products)
    squares, vectors = np.maximum(squares[::-1], 0), vectors[:, ::-1]
    raw = np.empty((len(origin), 2))
    for block in blocks:
        raw[block] = (points[:, block] - origin[block]).T @ vectors[:, :2]
    # Of points on a line the second is noise, and any direction does.
    directions = np.linalg.qr(raw)[0].T
    directions *= np.where((raw.T * directions).sum(1, keepdims=True) < 0, -1, 1)
    return Plane(origin, directions, squares[:2] / max(squares.sum(), np.finfo(float).tiny))
