"""What a re-identification data set is: images with an identity and a camera, in three subsets."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crosscam.data.labels import whole_numbers

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
        time: seconds, from any fixed origin; None where the data set has no times.
        track: name of the tracklet; None where the data set has none.
        camera: name of the camera; None where it has a number only.
    """

    path: Path
    pid: int
    camid: int
    time: float | None = None
    track: str | None = None
    camera: str | None = None


@dataclass(frozen=True)
class ReidDataset:
    """A data set as every part of crosscam reads it.

    Samples stand in sorted order, so that labels and batches are the same in every process.

    Attributes:
        name: for example ``"market1501"``.
        root: the folder that was read.
        train, query, gallery: the three subsets; a subset may be empty.
        protocol: how its ranking is scored, see :func:`crosscam.evaluate_ranking`.
        notes: what the reader left out or decided, one sentence each; never silent.
        renumbered: whether the reader numbered the identities itself, so that a number means somebody else elsewhere.
        tracklets: whether tracklets are ranked in place of images, see :mod:`crosscam.data.tracklets`.
        distractors: the folder of further distractors, see :mod:`crosscam.data.datasets.distractors`; None for none.
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

    @property
    def subsets(self) -> dict[str, tuple[Sample, ...]]:
        """The three subsets by name, in the usual order."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}

    def __repr__(self) -> str:
        """Counts in place of tens of thousands of samples."""
        parts = [
            f"{name}: {len(samples):,} images of {len({s.pid for s in samples if s.pid > 0}):,} people"
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
