"""The tracks of a gallery: when and where each was seen, and the mean of its descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery.entries import Entry
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.interface import Gallery

Ints = NDArray[np.int64]
Seconds = NDArray[np.float64]
ENTRIES_AT_ONCE = 20_000
ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Tracks:
    """T tracks, by their first entries. An entry without a track stands for itself.

    Attributes:
        entries: T tuples of entries, rising.
        camids: (T,) cameras.
        starts, ends: (T,) first and last time in seconds; NaN where no entry has one.
        means: (T, D) float32, means of the descriptors, not scaled: two tracks' images are
            ``sqrt(2 - 2 * mean @ mean)`` apart in the root mean square of all pairs.
        videos: (T,) numbers of the watched videos that they are from; 0 for tracks of something else.
        best: (T,) the entry that is nearest to the mean, of those with a small image where there are any.
    """

    entries: tuple[tuple[int, ...], ...]
    camids: Ints
    starts: Seconds
    ends: Seconds
    means: NDArray[np.float32]
    best: Ints
    videos: Ints

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def timed(self) -> NDArray[np.bool_]:
        """(T,) which have a time."""
        return np.isfinite(self.starts)


def track_key(entry: Entry) -> tuple[int, str] | int:
    """What the entries of one track have in common."""
    return entry.id if entry.track is None else (entry.camid, entry.track)


def tracks_of(gallery: Gallery) -> Tracks:
    """All tracks of a gallery; its descriptors are read twice."""
    groups: dict[tuple[int, str] | int, list[Entry]] = {}
    ids = gallery.ids()
    for first in range(0, len(ids), ENTRIES_AT_ONCE):
        for entry in gallery.get(ids[first : first + ENTRIES_AT_ONCE]):
            groups.setdefault(track_key(entry), []).append(entry)
    found = sorted(groups.values(), key=lambda some: some[0].id)
    entries = tuple(tuple(entry.id for entry in some) for some in found)
    spans = [span(some) for some in found]
    means, best = _means_and_best(gallery, entries)
    return Tracks(
        entries,
        np.array([some[0].camid for some in found], np.int64),
        np.array([start for start, _ in spans], np.float64),
        np.array([end for _, end in spans], np.float64),
        means,
        best,
        _videos_of([some[0] for some in found]),
    )


def _videos_of(entries: Sequence[Entry]) -> Ints:
    """A number for each watched video, from 1, by the key in the names of its tracks."""
    numbers: dict[str, int] = {}
    found = []
    for entry in entries:
        key = (entry.track or "").rpartition("-")[0]
        known = bool(key) and Fragment.read(entry.path) is not None
        found.append(numbers.setdefault(key, len(numbers) + 1) if known else 0)
    return np.array(found, np.int64)


def span(entries: Sequence[Entry]) -> tuple[float, float]:
    """First and last time of a track, of its images or as their paths tell; NaN where no image has a time."""
    times: list[float] = []
    for entry in entries:
        if entry.time is not None:
            fragment = Fragment.read(entry.path)
            times.append(entry.time)
            if fragment is not None:
                # Fragments count from the video's first frame, entries perhaps from 1970. Fragments are rounded to the
                # millisecond, and a track that begins with the video must not begin a little before it.
                first_frame = round(entry.time - fragment.seconds, 3)
                times += [first_frame + t for t in fragment.seen]
    return (min(times), max(times)) if times else (float("nan"), float("nan"))


def _means_and_best(gallery: Gallery, entries: tuple[tuple[int, ...], ...]) -> tuple[NDArray[np.float32], Ints]:
    ids = np.array([n for some in entries for n in some], np.int64)
    sizes = np.array([len(some) for some in entries], np.int64)
    number = np.repeat(np.arange(len(entries)), sizes)
    sums = np.zeros((len(entries), gallery.dim))
    for part in _parts(len(ids)):
        np.add.at(sums, number[part], gallery.descriptors(ids[part].tolist()).astype(np.float64))
    means = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    near = np.empty(len(ids))
    for part in _parts(len(ids)):
        near[part] = np.einsum("ij,ij->i", gallery.descriptors(ids[part].tolist()), means[number[part]])
    order = np.lexsort((ids, -near, number))
    ranked = np.split(ids[order], np.cumsum(sizes)[:-1]) if len(ids) else []
    return means, np.array(_first_shown(gallery, ranked), np.int64)


def _first_shown(gallery: Gallery, ranked: Sequence[Ints]) -> list[int]:
    """Of each list of entries the first that has a small image; the first of all where none has."""
    best = [int(some[0]) for some in ranked]
    for part in _parts(len(best)):
        images = gallery.thumbnails(best[part])
        for place, image in zip(range(len(best))[part], images, strict=True):
            if image is None:
                some = ranked[place].tolist()
                shown = [n for n, other in zip(some, gallery.thumbnails(some), strict=True) if other is not None]
                best[place] = shown[0] if shown else best[place]
    return best


def _parts(count: int) -> list[slice]:
    return [slice(first, min(count, first + ROWS_AT_ONCE)) for first in range(0, count, ROWS_AT_ONCE)]
