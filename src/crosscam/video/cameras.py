"""Several cameras in a file: ``[[camera]]`` tables with name, source, start and zones."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from crosscam.errors import ArgumentError
from crosscam.system.text import did_you_mean, read_time
from crosscam.video.zones import Zones, read_zones

KEYS = ("name", "source", "start", "zones", "frame_rate")


@dataclass(frozen=True)
class Camera:
    """One camera to watch.

    Attributes:
        name: in the gallery.
        source: video, folder of frames, address or device; a path counts from the file's folder.
        start: seconds of the Unix epoch at the first frame; None where it is not known.
        zones: where people count; None for the whole view.
        frame_rate: frames a second, as drawn videos tell it; for readers of the truth. Videos themselves are read by
            their stamps.
    """

    name: str
    source: str
    start: float | None = None
    zones: Zones | None = None
    frame_rate: float | None = None


def read_cameras(path: Path) -> tuple[Camera, ...]:
    """The cameras of a TOML file.

    Raises:
        ArgumentError: the file cannot be read, or a table is of another form.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArgumentError(f"{path} cannot be read ({error}).") from error
    tables = found.get("camera")
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
    if rate is not None and not (isinstance(rate, int | float) and 0 < rate < 1000):
        raise ArgumentError(f"{where}: frame_rate is {rate!r}. Expected frames a second.")
    return Camera(name, there, _start(table.get("start"), where), read_zones(table.get("zones"), where), rate)


def _start(value: Any, where: str) -> float | None:
    """A date of TOML, or what ``--start`` takes."""
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, date | datetime) else str(value)
    return read_time(text, f"{where}: start")
