"""How many pairs of the same and of different people lie at each distance, counted without keeping the pairs.

Distances of unit vectors lie in [0, 2]. The 16,384 bins have a power of two as width, so that no rounding moves a
distance into another bin: every count below an edge is exact. Memory is the histograms and one block of distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.data.records import DISTRACTOR_PID, JUNK_PID
from crosscam.errors import ArgumentError
from crosscam.metrics.counting import Ints, check_labels
from crosscam.retrieval.distances import pairwise_distances

BINS = 1 << 14
WIDTH = 2.0 / BINS
BLOCK_ELEMENTS = 1_000_000
# A histogram of a camera pair takes 256 kB for both kinds of pairs.
MAX_CAMERA_PAIRS = 400

Cameras = tuple[int, int]


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Pairs by distance. All histograms are (BINS,) int64; bin k holds the distances in [k, k + 1) * WIDTH.

    Attributes:
        genuine: pairs of one person at two cameras.
        impostor: pairs of two people at two cameras.
        within: pairs of two people at one camera.
        by_cameras: (genuine, impostor) for each pair of cameras that was asked for; the smaller camera stands first. At
            one camera alone there are no genuine pairs: such images are of one walk past the camera.
        identity, bin, count: (E,) the genuine pairs of each person, by bin.
    """

    genuine: Ints
    impostor: Ints
    within: Ints
    by_cameras: dict[Cameras, tuple[Ints, Ints]]
    identity: Ints
    bin: Ints
    count: Ints


@dataclass(frozen=True, eq=False)
class Labeled:
    """Descriptors without junk, with their identities and cameras numbered from 0.

    Attributes:
        descriptors: (N, D) float32.
        identities: (N,) 0 to K - 1; people first, then every distractor as an identity of its own.
        cameras: (N,) index into ``camids``.
        camids: (C,) cameras, ascending.
        num_people: identities that are people; the rest are distractors.
    """

    descriptors: NDArray[np.float32]
    identities: Ints
    cameras: Ints
    camids: Ints
    num_people: int

    @property
    def per_identity(self) -> Ints:
        """(K, C) images of each identity at each camera."""
        size = (int(self.identities.max(initial=-1)) + 1, len(self.camids))
        flat = np.bincount(self.identities * size[1] + self.cameras, minlength=size[0] * size[1])
        return flat.reshape(size).astype(np.int64)


def labeled(descriptors: NDArray[np.float32], pids: ArrayLike, camids: ArrayLike) -> Labeled:
    """(N, D) descriptors, (N,) pids and camids without junk (pid -1), numbered; ValueError if they do not fit.

    Two distractors (pid 0) may be one person or two, so they are never compared.
    """
    x = np.ascontiguousarray(descriptors, dtype=np.float32)
    if x.ndim != 2:
        raise ArgumentError(f"Descriptors have shape {x.shape}. Expected (N, D).")
    labels = check_labels((len(x), len(x)), pids, pids, camids, camids)
    lengths = np.linalg.norm(x, axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or not np.isfinite(lengths).all():
        row = int(np.argmax(np.nan_to_num(np.abs(lengths - 1), nan=np.inf)))
        raise ArgumentError(f"Descriptor {row} has length {lengths[row]:.4g}. Expected 1, as an Extractor gives them.")
    keep = labels.gallery_pids != JUNK_PID
    pid, camera = labels.gallery_pids[keep], labels.gallery_camids[keep]
    is_person = pid != DISTRACTOR_PID
    people, number = np.unique(pid[is_person], return_inverse=True)
    identities = np.empty(len(pid), dtype=np.int64)
    identities[is_person] = number
    identities[~is_person] = len(people) + np.arange(np.count_nonzero(~is_person))
    cameras, camera_index = np.unique(camera, return_inverse=True)
    return Labeled(x[keep], identities, camera_index.astype(np.int64), cameras, len(people))


def count_pairs(data: Labeled, cameras: list[Cameras]) -> PairCounts:
    """Count every unordered pair once, without a person with himself at one camera and without two distractors.

    ``cameras`` are pairs of indices into ``data.camids``, the smaller first, that get histograms of their own.
    """
    # Groups of bins: across cameras genuine 0 and impostor 1, within a camera 2, left out 3; then two for each pair.
    num_cameras = len(data.camids)
    group_of = np.full((num_cameras, num_cameras), -1, dtype=np.int64)
    for k, (a, b) in enumerate(cameras):
        group_of[a, b] = group_of[b, a] = k
    pooled = np.zeros((4, BINS), dtype=np.int64)
    single = np.zeros((2 * len(cameras), BINS), dtype=np.int64)
    entries = [np.empty((2, 0), dtype=np.int64)]
    for block in _blocks(data):
        pooled += np.bincount(block.kind * BINS + block.bin, minlength=4 * BINS).reshape(4, BINS)
        group = group_of[data.cameras[block.first], data.cameras[block.second]]
        chosen = (group >= 0) & (block.kind != LEFT_OUT)
        key = (2 * group[chosen] + (block.kind[chosen] != GENUINE)) * BINS + block.bin[chosen]
        single += np.bincount(key, minlength=single.size).reshape(single.shape)
        genuine = block.kind == GENUINE
        keys = data.identities[block.first[genuine]] * BINS + block.bin[genuine]
        entries.append(np.stack(np.unique(keys, return_counts=True)))
        if len(entries) > 64:
            entries = [_joined(entries)]
    keys, count = _joined(entries)
    by_cameras = {
        (int(data.camids[a]), int(data.camids[b])): (single[2 * k], single[2 * k + 1])
        for k, (a, b) in enumerate(cameras)
    }
    return PairCounts(pooled[GENUINE], pooled[IMPOSTOR], pooled[WITHIN], by_cameras, keys // BINS, keys % BINS, count)


GENUINE, IMPOSTOR, WITHIN, LEFT_OUT = range(4)


@dataclass(frozen=True, eq=False)
class Block:
    """Some pairs, all (P,): index of either image; GENUINE, IMPOSTOR, WITHIN or LEFT_OUT; bin of the distance."""

    first: Ints
    second: Ints
    kind: Ints
    bin: Ints


def _blocks(data: Labeled) -> Iterator[Block]:
    """Every pair (i, j) with i < j, some rows at a time."""
    total = len(data.descriptors)
    first = 0
    while first < total - 1:
        last = min(total, first + max(1, BLOCK_ELEMENTS // (total - first)))
        distances = pairwise_distances(data.descriptors[first:last], data.descriptors[first:])
        rows, columns = np.triu_indices(last - first, 1, total - first)
        i, j = rows + first, columns + first
        bins = np.minimum((distances[rows, columns] * np.float32(1 / WIDTH)).astype(np.int64), BINS - 1)
        same = data.identities[i] == data.identities[j]
        one_camera = data.cameras[i] == data.cameras[j]
        kind = np.where(same, np.where(one_camera, LEFT_OUT, GENUINE), np.where(one_camera, WITHIN, IMPOSTOR))
        distractors = (data.identities[i] >= data.num_people) & (data.identities[j] >= data.num_people)
        kind[distractors] = LEFT_OUT
        yield Block(i, j, kind, bins)
        first = last


def _joined(entries: list[Ints]) -> Ints:
    """(2, E) distinct keys and how often each stands there, of several such lists."""
    keys, count = np.concatenate(entries, axis=1)
    distinct, place = np.unique(keys, return_inverse=True)
    return np.stack([distinct, np.bincount(place, weights=count, minlength=len(distinct)).astype(np.int64)])


@dataclass(frozen=True, eq=False)
class Tail:
    """The closest impostor pairs across cameras, for resampling; all (P,), sorted by bin.

    ``first`` and ``second`` are identities; ``weight`` is the pairs that an entry stands for, 1 where all are kept.
    """

    first: Ints
    second: Ints
    bin: Ints
    weight: NDArray[np.float64]


def closest_impostors(data: Labeled, counts: PairCounts, share: float, limit: int = 500_000) -> Tail:
    """The closest ``share`` of the impostor pairs across cameras: ``limit`` all kept, ``limit`` drawn of the rest."""
    below = np.cumsum(counts.impostor)
    far = int(np.searchsorted(below, share * below[-1])) + 1
    near = min(int(np.searchsorted(below, limit, side="right")), far)
    inner = int(below[near - 1]) if near else 0
    outer = int(below[min(far, BINS) - 1]) - inner
    chance = min(1.0, limit / max(1, outer))
    random = np.random.default_rng(0)
    parts: list[NDArray[np.float64]] = [np.empty((4, 0))]
    for block in _blocks(data):
        kept = (block.kind == IMPOSTOR) & (block.bin < far)
        if chance < 1:
            kept &= (block.bin < near) | (random.random(len(kept)) < chance)
        bins = block.bin[kept]
        weight = np.where(bins < near, 1.0, 1.0 / chance)
        parts.append(np.stack([data.identities[block.first[kept]], data.identities[block.second[kept]], bins, weight]))
    first, second, bins, weight = np.concatenate(parts, axis=1)
    order = np.argsort(bins, kind="stable")
    first, second, bins = (x[order].astype(np.int64) for x in (first, second, bins))
    return Tail(first, second, bins, weight[order])
