"""Several cameras in a file: ``[[camera]]`` tables with name, source, start, and the zones in which people count."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError
from crosscam.gallery.camera_names import check_label
from crosscam.system.text import did_you_mean, read_time
from crosscam.video.decoding import Source
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

    def meets(self, height: int, width: int) -> bool:
        """Whether a part of a frame may lie in a zone."""
        boxes = (np.array(polygon) for polygon in self.polygons)
        return any((box.max(axis=0) > 0).all() and (box.min(axis=0) < (width, height)).all() for box in boxes)

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
        if np.abs(corners).max() <= 1:  # shares of the frame, in which nobody would stand
            raise wrong
        polygons.append(tuple((float(x), float(y)) for x, y in corners))
    return Zones(tuple(polygons))


KEYS = ("name", "source", "start", "zones", "frame_rate")


@dataclass(frozen=True)
class Camera:
    """One camera to watch.

    Attributes:
        name: in the gallery.
        source: video, folder of frames, address or device; a path counts from the file's folder.
        start: seconds of the Unix epoch at the first frame; None where it is not known.
        zones: where people count; None for the whole view.
        frame_rate: frames a second of a folder of frames that does not tell it. A video's stamps tell its own, so
            that another one is refused.

    Raises:
        ArgumentError: a name that no camera of a gallery can have.
    """

    name: str
    source: str
    start: float | None = None
    zones: Zones | None = None
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        check_label(self.name)


def read_cameras(path: Path) -> tuple[Camera, ...]:
    """The cameras of a TOML file.

    Raises:
        ArgumentError: the file cannot be read, or a table is of another form.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArgumentError(f"{path} cannot be read ({error}).") from error
    tables = found.get("camera")
    if isinstance(tables, dict):
        raise ArgumentError(f"{path}: [camera] is one table. Write [[camera]] above each camera.")
    if not isinstance(tables, list) or not tables or set(found) != {"camera"}:
        raise ArgumentError(
            f"{path}: expected a [[camera]] table for each camera and nothing else, found {sorted(found)}."
        )
    return tuple(_camera(table, f"{path}, camera {number}", path) for number, table in enumerate(tables, 1))


def _camera(table: Any, where: str, path: Path) -> Camera:
    if not isinstance(table, dict):
        raise ArgumentError(f"{where}: expected a table.")
    strange = next((key for key in table if key not in KEYS), None)
    if strange is not None:
        raise ArgumentError(f"{where}: unknown key {strange!r}. {did_you_mean(strange, KEYS)}Known: {', '.join(KEYS)}.")
    name, source = table.get("name"), table.get("source")
    name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    if not (isinstance(name, str) and name.strip() and isinstance(source, str) and source):
        raise ArgumentError(f"{where}: expected a name and a source.")
    there = source if "://" in source else str(path.parent / source)
    rate = table.get("frame_rate")
    if rate is not None and (isinstance(rate, bool) or not (isinstance(rate, int | float) and 0 < rate < 1000)):
        raise ArgumentError(f"{where}: frame_rate is {rate!r}. Expected frames a second.")
    start, zones = _start(table.get("start"), where), read_zones(table.get("zones"), where)
    try:
        return Camera(name.strip(), there, start, zones, rate)
    except ArgumentError as error:
        raise ArgumentError(f"{where}: {error}") from error


def _start(value: Any, where: str) -> float | None:
    """A date of TOML, or what ``--start`` takes."""
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, date | datetime) else str(value)
    return read_time(text, f"{where}: start", spans=False)


def folders_of(out: Path | None, cameras: Sequence[Camera]) -> list[Path | None]:
    """A folder for each camera: ``out`` itself for one; in it, for several, one by the name of each.

    What a file system may not take in a name becomes ``_``; of cameras with one name the later ones are numbered.
    """
    if out is None or len(cameras) == 1:
        return [out] * len(cameras)
    names: list[str] = []
    taken: set[str] = set()
    for camera in cameras:
        first = re.sub(r"[^\w. -]", "_", camera.name).strip(". ") or "camera"
        numbered = (first if number == 1 else f"{first}-{number}" for number in count(1))
        names.append(next(name for name in numbered if name.casefold() not in taken))
        taken.add(names[-1].casefold())
    return [out / name for name in names]


def check_apart(cameras: Sequence[Camera], sources: Sequence[Source]) -> None:
    """Refuse one video, or one live source, at two cameras, before any is watched.

    Raises:
        ArgumentError: there is one.
    """
    first: dict[str, Camera] = {}
    for camera, source in zip(cameras, sources, strict=True):
        other = first.setdefault(source.name if source.live else source.key, camera)
        if source.live and other is not camera:
            raise ArgumentError(f"{source.name} is the source of camera {other.name} and {camera.name}. Give it once.")
        if (other.name, other.start) != (camera.name, camera.start):
            where = "" if other.name != camera.name else " with another start"
            raise ArgumentError(
                f"{camera.source}, of camera {camera.name}, has the content of {other.source}, which camera "
                f"{other.name} has{where}. Give each video once."
            )
