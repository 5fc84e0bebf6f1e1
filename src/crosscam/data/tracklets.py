"""Tracklets: the frames of one person at one camera, which are ranked as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import ArgumentError, DataError

T = TypeVar("T")
RANKED_BY_TRACKLETS = "Tracklets are ranked"


def by_tracklets(dataset: ReidDataset) -> ReidDataset:
    """The same data set with its tracklets ranked in place of its images, and a note on it.

    Raises:
        DataError: no query or gallery image belongs to a track.
    """
    if not any(s.track is not None for s in (*dataset.query, *dataset.gallery)):
        raise DataError(
            f"No query or gallery image of {dataset.root} belongs to a track. Add a track column, or rank images."
        )
    query, gallery = (len(_places(samples)) for samples in (dataset.query, dataset.gallery))
    note = (
        f"{RANKED_BY_TRACKLETS}: {query:,} queries and {gallery:,} in the gallery, each by the mean of the descriptors "
        "of its frames. Training takes frames as images."
    )
    return replace(dataset, tracklets=True, notes=(*dataset.notes, note))


def ranked(dataset: ReidDataset) -> ReidDataset:
    """The data set with one query or gallery sample for each row that is ranked: of a tracklet, its first frame."""
    if not dataset.tracklets:
        return dataset
    query, gallery = (tuple(s[p[0]] for p in _places(s)) for s in (dataset.query, dataset.gallery))
    return replace(dataset, query=query, gallery=gallery)


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
