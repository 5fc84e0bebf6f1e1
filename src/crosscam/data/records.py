"""What a re-identification dataset is: images with an identity and a camera, in three subsets.

The frames of one person at one camera may be a tracklet, which is ranked as one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from crosscam.data.labels import whole_numbers
from crosscam.errors import ArgumentError, DataError
from crosscam.system.text import counted

JUNK_PID = -1
DISTRACTOR_PID = 0

RankingProtocol = Literal["market1501", "cuhk03", "allshots"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One person image.

    Attributes:
        path: the image file.
        pid: identity; -1 is junk (ignored by ranking), 0 a distractor (matches no query).
        camid: camera.
        time: seconds, from any fixed origin; None where the dataset has no times.
        track: name of the tracklet; None where the dataset has none.
        camera: name of the camera; None where it has a number only.
    """

    path: Path
    pid: int
    camid: int
    time: float | None = None
    track: str | None = None
    camera: str | None = None

    @property
    def camera_label(self) -> str:
        """What people call the camera: its name, or its number where it has none."""
        return str(self.camid) if self.camera is None else self.camera


@dataclass(frozen=True)
class ReidDataset:
    """A dataset as every part of crosscam reads it.

    Samples stand in sorted order, so that labels and batches are the same in every process.

    Attributes:
        name: for example ``"market1501"``.
        root: the folder that was read.
        train, query, gallery: the three subsets; a subset may be empty.
        protocol: how its ranking is scored, see :func:`crosscam.evaluate_ranking`.
        notes: what the reader left out or decided, one sentence each; never silent.
        renumbered: whether the reader numbered the identities itself, so that a number means somebody else elsewhere.
        tracklets: whether tracklets are ranked in place of images, see :mod:`crosscam.data.records`.
        distractors: the folder of further distractors, see :mod:`crosscam.data.datasets.readers`; None for none.
        table: the file that was read; None where it was a folder.
    """

    name: str
    root: Path
    train: tuple[Sample, ...] = ()
    query: tuple[Sample, ...] = ()
    gallery: tuple[Sample, ...] = ()
    protocol: RankingProtocol = "market1501"
    notes: tuple[str, ...] = field(default=())
    renumbered: bool = False
    tracklets: bool = False
    distractors: Path | None = None
    table: Path | None = field(default=None, compare=False)

    @property
    def place(self) -> Path:
        """What was read, as messages name it: the table, or the folder."""
        return self.table or self.root

    @property
    def subsets(self) -> dict[str, tuple[Sample, ...]]:
        """The three subsets by name, in the usual order."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}

    def __repr__(self) -> str:
        """Counts in place of tens of thousands of samples."""
        parts = [
            f"{name}: {counted(len(samples), 'image')} of "
            f"{counted(len({s.pid for s in samples if s.pid > 0}), 'person')}"
            for name, samples in self.subsets.items()
        ]
        return f"ReidDataset({self.name!r}, {', '.join(parts)})"

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any path, identity, camera or subset, and a ranked track.

        Paths count relative to the root or the folder of distractors: copies elsewhere have the same fingerprint.
        """
        roots = [root for root in (self.distractors, self.root) if root is not None]
        unit = "|tracklets" if self.tracklets else ""
        digest = hashlib.sha256(f"{self.name}|{self.protocol}{unit}".encode())
        for subset, samples in self.subsets.items():
            for s in samples:
                root = next((root for root in roots if s.path.is_relative_to(root)), None)
                path = s.path if root is None else s.path.relative_to(root)
                track = f"|{s.track}" if self.tracklets else ""
                line = f"{subset}|{path.as_posix()}|{s.pid}|{s.camid}{track}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]


def unmatched_queries(dataset: ReidDataset) -> list[Sample]:
    """Queries without a match, by the ranking's own rule: the same identity at another camera of the gallery.

    Junk and distractors match no query. :func:`crosscam.metrics.counting.find_matches` ranks by the same rule.
    """
    cameras: dict[int, set[int]] = defaultdict(set)
    for s in dataset.gallery:
        cameras[s.pid].add(s.camid)
    return [
        s for s in dataset.query if s.pid in (JUNK_PID, DISTRACTOR_PID) or not cameras.get(s.pid, set()) - {s.camid}
    ]


def pids_of(samples: tuple[Sample, ...]) -> NDArray[np.int64]:
    """(N,) identities of the samples."""
    return whole_numbers([s.pid for s in samples], "pid")


def camids_of(samples: tuple[Sample, ...]) -> NDArray[np.int64]:
    """(N,) cameras of the samples."""
    return whole_numbers([s.camid for s in samples], "camid")


def labels_of(samples: tuple[Sample, ...]) -> NDArray[np.int64]:
    """(N,) class numbers 0 to K-1: the place of each sample's pid among the sorted distinct pids."""
    return np.unique(pids_of(samples), return_inverse=True)[1].astype(np.int64)


T = TypeVar("T")
Labels = NDArray[np.int64]
RANKED_BY_TRACKLETS = "Tracklets are ranked"


def by_tracklets(dataset: ReidDataset) -> ReidDataset:
    """The same dataset with its tracklets ranked in place of its images, and a note on it.

    Raises:
        DataError: no query or gallery image belongs to a track.
    """
    if not any(s.track is not None for s in (*dataset.query, *dataset.gallery)):
        raise DataError(
            f"No query or gallery image of {dataset.place} belongs to a track. Add a track column, or rank images."
        )
    query, gallery = (len(_places(samples)) for samples in (dataset.query, dataset.gallery))
    note = (
        f"{RANKED_BY_TRACKLETS}: {counted(query, 'query')} and {gallery:,} in the gallery, each by the mean of the "
        "descriptors of its frames. Training takes frames as images."
    )
    return replace(dataset, tracklets=True, notes=(*dataset.notes, note))


def ranked(dataset: ReidDataset) -> ReidDataset:
    """The dataset with one query or gallery sample for each row that is ranked: of a tracklet, its first frame."""
    if not dataset.tracklets:
        return dataset
    query, gallery = (tuple(s[p[0]] for p in _places(s)) for s in (dataset.query, dataset.gallery))
    return replace(dataset, query=query, gallery=gallery)


def ranking_labels(dataset: ReidDataset) -> tuple[Labels, Labels, Labels, Labels]:
    """Identities of query and gallery, (Q,) and (G,), then their cameras: what every ranking is scored with."""
    units = ranked(dataset)
    query, gallery = units.query, units.gallery
    return pids_of(query), pids_of(gallery), camids_of(query), camids_of(gallery)


def pooled(
    dataset: ReidDataset, samples: Sequence[Sample], rows: NDArray[np.float32], unit: bool = True
) -> NDArray[np.float32]:
    """Descriptors of what is ranked, from those of the images.

    Args:
        dataset: says whether tracklets are ranked.
        samples: its query or gallery, N images.
        rows: (N, D) their descriptors.
        unit: whether the means are scaled to length 1.
    Returns:
        (T, D) in the order of :func:`ranked`; the rows themselves where images are ranked.
    """
    if not dataset.tracklets:
        return rows
    places = _places(samples)
    means = np.stack([rows[some].mean(axis=0, dtype=np.float64) for some in places])
    if unit:
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return means.astype(np.float32)


def sets_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """(N,) the tracklet of each image, numbered in the order of :func:`ranked`."""
    sets = np.empty(len(samples), np.int64)
    for number, places in enumerate(_places(samples)):
        sets[places] = number
    return sets


def num_tracklets(samples: Sequence[Sample]) -> int:
    """How many tracklets the samples are; an image without a track is one of its own."""
    return len(_places(samples))


def spread_out(frames: Sequence[T], most: int | None) -> Sequence[T]:
    """At most so many frames of a tracklet, evenly spread over it; all of them for None.

    Raises:
        ValueError: fewer than one.
    """
    if most is None or len(frames) <= most:
        return frames
    if most < 1:
        raise ArgumentError(f"frames={most}: expected at least 1 frame of a tracklet.")
    return [frames[(2 * k + 1) * len(frames) // (2 * most)] for k in range(most)]


def _places(samples: Sequence[Sample]) -> list[list[int]]:
    """Places of the frames of each tracklet, in the order of their first frames."""
    groups: dict[tuple[int, int, str] | int, list[int]] = {}
    for place, s in enumerate(samples):
        groups.setdefault(place if s.track is None else (s.pid, s.camid, s.track), []).append(place)
    return list(groups.values())
