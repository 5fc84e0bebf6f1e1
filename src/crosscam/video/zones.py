"""Parts of a camera's view in which people count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError
from crosscam.video.detections import Detections, Floats

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Zones:
    """Polygons; a person counts whose feet, the middle of the box's lower edge, are in one of them.

    Attributes:
        polygons: corners (x, y) in pixels of the upright frame.
    """

    polygons: tuple[Polygon, ...]

    def __str__(self) -> str:
        """The same text for the same zones."""
        return str([[list(corner) for corner in polygon] for polygon in self.polygons])

    def inside(self, found: Detections) -> Detections:
        """Those who stand in a zone."""
        feet = np.stack(((found.boxes[:, 0] + found.boxes[:, 2]) / 2, found.boxes[:, 3]), axis=1)
        kept = np.zeros(len(found), bool)
        for polygon in self.polygons:
            kept |= contains(np.array(polygon, dtype=np.float64), feet)
        return found[kept]


def contains(corners: Floats, points: Floats) -> NDArray[np.bool_]:
    """Whether a polygon (K, 2) contains points (N, 2): a ray to the right crosses its sides an odd number of times."""
    x, y = points[:, :1], points[:, 1:]
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    crossed = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = x < (x1 - x0) * (y - y0) / (y1 - y0) + x0
    odd: NDArray[np.bool_] = (crossed & left).sum(axis=1) % 2 == 1
    return odd


def read_zones(value: object, where: str) -> Zones | None:
    """Zones of a list of polygons, each a list of at least three ``[x, y]``; None for none.

    Raises:
        ArgumentError: another form.
    """
    if value is None:
        return None
    wrong = ArgumentError(
        f"{where}: zones are polygons of at least three [x, y] in pixels, such as [[[0, 0], [9, 0], [9, 9]]]."
    )
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise wrong
    polygons = []
    for polygon in value:
        try:
            corners = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise wrong from error
        if corners.ndim != 2 or corners.shape[0] < 3 or corners.shape[1] != 2 or not np.isfinite(corners).all():
            raise wrong
        polygons.append(tuple((float(x), float(y)) for x, y in corners))
    return Zones(tuple(polygons))
