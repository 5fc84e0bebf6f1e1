"""What goes into a gallery, what comes out, and how entries are chosen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crosscam.data.labels import whole_number
from crosscam.errors import ArgumentError
from crosscam.gallery.camera_names import check_name
from crosscam.models.output import Layout
from crosscam.system.text import FIRST, LAST


class Keep:
    """The type of ``KEEP``."""

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep()
"""Leave a field as it is; None would clear it."""


@dataclass(frozen=True)
class ModelIdentity:
    """The model that made the descriptors of a gallery.

    Attributes:
        fingerprint: hexadecimal digits that change with anything that changes a descriptor.
        name: what a person calls it, for messages.
    """

    fingerprint: str
    name: str


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One image of a person, before a gallery has it.

    Attributes:
        path: where the image came from; a text that the gallery keeps and never opens.
        camid: camera.
        pid: identity, None where nobody knows it.
        time: seconds; of the Unix epoch where entries are to expire by their time. None where unknown.
        track: name of the tracklet within its camera, None where there is none.
        camera: name of the camera; the gallery keeps it once, for all entries of this ``camid``.
    """

    path: str
    camid: int
    pid: int | None = None
    time: float | None = None
    track: str | None = None
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a person in a gallery.

    Attributes:
        id: number that the gallery gave it; never given again.
        path, camid, pid, time, track: as in :class:`NewEntry`.
        added: when it came into the gallery, seconds of the Unix epoch.
        camera: name of the camera, None where it has a number only.
    """

    id: int
    path: str
    camid: int
    pid: int | None
    time: float | None
    track: str | None
    added: float
    camera: str | None = None

    @property
    def camera_label(self) -> str:
        """What a person calls the camera: its name, or else its number."""
        return str(self.camid) if self.camera is None else self.camera


@dataclass(frozen=True, eq=False, slots=True)
class Hit:
    """One entry of a result.

    Attributes:
        entry: the entry; of a pooled track, its nearest image.
        distance: Euclidean distance to the query, weights applied.
        contributions: (L,) float64, squared distance block by block of the layout, weights applied; their sum is the
            squared ``distance``.
        reranked: the distance after re-ranking, which decided the place; None without re-ranking.
        pooled: entries that ``distance`` stands for: 1, or the images of a pooled track.
    """

    entry: Entry
    distance: float
    contributions: NDArray[np.float64]
    reranked: float | None = None
    pooled: int = 1

    def __repr__(self) -> str:
        """What a person asks first; the contributions of the blocks are left out."""
        entry = self.entry
        pid = "" if entry.pid is None else f", pid {entry.pid}"
        again = "" if self.reranked is None else f", re-ranked {self.reranked:.3f}"
        pooled = "" if self.pooled == 1 else f", {self.pooled} images"
        what = f"entry {entry.id}, camera {entry.camera_label}{pid}{pooled}, {entry.path!r}"
        return f"Hit({self.distance:.3f}{again}, {what})"


@dataclass(frozen=True)
class Where:
    """Which entries; conditions left at None choose all, and all conditions must hold.

    An entry without a time lies in no time range, one without a pid or track is never among ``pids`` or ``tracks`` and
    never among the excluded.

    Attributes:
        ids, pids, camids, tracks: only these.
        not_ids, not_pids, not_camids, not_tracks: none of these.
        time_from: not before this time, in seconds.
        time_to: not after this time.
        added_before: came into the gallery before this time, seconds of the Unix epoch.
    """

    ids: tuple[int, ...] | None = None
    pids: tuple[int, ...] | None = None
    camids: tuple[int, ...] | None = None
    tracks: tuple[str, ...] | None = None
    not_ids: tuple[int, ...] | None = None
    not_pids: tuple[int, ...] | None = None
    not_camids: tuple[int, ...] | None = None
    not_tracks: tuple[str, ...] | None = None
    time_from: float | None = None
    time_to: float | None = None
    added_before: float | None = None

    def __post_init__(self) -> None:
        for name in ("ids", "pids", "camids", "tracks"):
            for option in (name, f"not_{name}"):
                value: Iterable[object] | str | int | None = getattr(self, option)
                if value is not None and (isinstance(value, str) or not isinstance(value, Iterable)):
                    raise ArgumentError(f"{option} is {value!r}. Expected several values, as in {option}=({value!r},).")
                if value is not None:
                    kept = tuple(value) if name == "tracks" else tuple(whole_number(v, option) for v in value)
                    object.__setattr__(self, option, kept)
        for name in ("time_from", "time_to", "added_before"):
            seconds: float | None = getattr(self, name)
            if seconds is not None and math.isnan(seconds):
                raise ArgumentError(f"{name} is {seconds}, which is before and after nothing. Expected seconds.")

    @property
    def everything(self) -> bool:
        """Whether no entry is left out: no condition is set, or none but "none of these" without any."""
        return all(
            value is None or (each.name.startswith("not_") and not value)
            for each, value in ((each, getattr(self, each.name)) for each in fields(self))
        )


EVERYTHING: Final = Where()
"""No condition."""


@dataclass(frozen=True)
class GalleryInfo:
    """The state of a gallery.

    Attributes:
        place: folder or address.
        model: what made the descriptors.
        layout: the named blocks of a descriptor.
        entries: images.
        wiped: places of forgotten entries that ``compact`` gives back to the disk.
        bytes: size on disk; None where the server does not tell.
        cameras: (camid, entries) of each camera.
        people: identities with a name, pid above 0.
        tracks: tracklets, counted for each camera.
        times: first and last time, of dates alone where there are some; None where no entry has one.
        added: when the first and the last entry came in; None for an empty gallery.
        camera_names: names by camid, of those cameras that have one.
    """

    place: str
    model: ModelIdentity
    layout: Layout
    entries: int
    wiped: int
    bytes: int | None
    cameras: tuple[tuple[int, int], ...]
    people: int
    tracks: int
    times: tuple[float, float] | None
    added: tuple[float, float] | None
    camera_names: dict[int, str] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """D, length of a descriptor."""
        return self.layout[-1].stop

    def camera_label(self, camid: int) -> str:
        """Name of a camera with its number, or its number alone."""
        return f"{self.camera_names[camid]} ({camid})" if camid in self.camera_names else str(camid)


@dataclass(frozen=True)
class Verified:
    """What ``verify`` found.

    Attributes:
        entries: entries looked at.
        problems: one sentence for each fault; empty for a sound gallery.
    """

    entries: int
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def unit_mean(descriptors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Several images of one person as one query: the mean of their descriptors, scaled to length 1.

    Args:
        descriptors: (N, D), N >= 1, each of length 1.
    Returns:
        (1, D) float32.
    Raises:
        ValueError: no descriptor, or descriptors that cancel out.
    """
    if descriptors.ndim != 2 or not len(descriptors):
        raise ArgumentError(f"Expected (N, D) descriptors with N >= 1, found shape {descriptors.shape}.")
    mean = descriptors.astype(np.float64).mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise ArgumentError(f"The mean of these {len(descriptors)} descriptors has no direction: they cancel out.")
    result: NDArray[np.float32] = (mean / length)[None].astype(np.float32)
    return result


def name_of(path: str | Path) -> str:
    """The path as a gallery keeps it: forward slashes on every system."""
    return Path(path).as_posix()


def refuse_new(entries: Sequence[NewEntry], thumbnails: Sequence[bytes | None], count: int) -> None:
    """Refuse entries that cannot be kept.

    Raises:
        ValueError: counts that differ, or a value of another kind.
    """
    if len(entries) != count or len(thumbnails) != count:
        raise ArgumentError(
            f"Expected an entry and a thumbnail for each of {count} rows, found {len(entries)} and {len(thumbnails)}."
        )
    for place, entry in enumerate(entries):
        for name, text in (("path", entry.path), ("track", entry.track), ("camera", entry.camera)):
            if (text is not None or name == "path") and not (isinstance(text, str) and _is_text(text)):
                raise ArgumentError(
                    f"Entry {place} has the {name} {text!r}. Expected a text that is UTF-8 without NUL."
                )
        for name, value in (("camid", entry.camid), ("pid", entry.pid)):
            if value is not None or name == "camid":
                try:
                    whole_number(value, name)
                except ValueError as error:
                    raise ArgumentError(
                        f"Entry {place} has {name} {value!r}. Expected a whole number of at most 63 bits and a sign."
                    ) from error
        if entry.camera is not None:
            check_name(entry.camera)
        if entry.pid is not None and entry.pid < -1:
            raise ArgumentError(
                f"Entry {place} has pid {entry.pid}. Expected -1 or more, or None where it is not known."
            )
        if entry.track is not None and not entry.track.strip():
            raise ArgumentError(f"Entry {place} has the track {entry.track!r}. Expected a name, or None for no track.")
        if entry.time is not None and not (_is_number(entry.time) and FIRST <= entry.time < LAST):
            raise ArgumentError(f"Entry {place} has the time {entry.time!r}. Expected seconds, or None.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_text(value: str) -> bool:
    """Whether SQLite keeps it as it is; file names that are not UTF-8 come as surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
