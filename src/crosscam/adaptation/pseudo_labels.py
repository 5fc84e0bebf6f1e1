"""Clusters in place of identities: DBSCAN on sparse Jaccard distances, within what tracks and times allow.

The distances are those of k-reciprocal re-ranking (Zhong, Zheng, Cao & Li, CVPR 2017, eqs. (7) and (8), as
:mod:`crosscam.retrieval.reranking` computes them), of near pairs alone: descriptors are compared block by block (64
MB), neighborhoods are sparse rows, and at most ``MOST_PAIRS`` pairs are kept for each image on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.adaptation.units import Ints, Units
from crosscam.errors import ArgumentError, DataError, TrainingError
from crosscam.recipes.choices import Adapt
from crosscam.retrieval.distances import Descriptors, distance_blocks
from crosscam.retrieval.reranking import SparseRows, encode_neighborhoods, entries_of, nearest
from crosscam.system.text import counted

Rows = NDArray[np.float32]
# Images of tracks that the silhouette is taken of: their distances are a dense matrix of 32 MB.
SILHOUETTE_IMAGES = 2000
# Pairs that are kept for each image on average: 16 bytes each, so that 10,000 images take at most 160 MB.
MOST_PAIRS = 1000


def check_clustering() -> None:
    """Refuse (TrainingError) to begin without the library that clusters."""
    if find_spec("sklearn") is None or find_spec("scipy") is None:
        raise TrainingError("Adapting without labels needs scikit-learn: pip install 'crosscam[adapt]'.")


def cluster(descriptors: Rows, units: Units, settings: Adapt) -> Ints:
    """(N,) cluster of each image, numbered from 0 by the first images; -1 for images in none.

    A track is clustered as one image that counts as often as it has images. Units that are known to be two people
    have no edge, and where others join them into one cluster, it is split. ``descriptors``: (N, D) of length 1.
    """
    from scipy.sparse import csr_matrix
    from sklearn.cluster import DBSCAN

    rows = unit_rows(descriptors, units)
    try:
        pairs = near_pairs(rows, settings.eps, k1=settings.k1, k2=settings.k2)
    except ArgumentError as error:
        raise DataError(f"Clusters cannot be made with adapt.eps={settings.eps:g}: {error}") from error
    if units.keeps_apart:
        pairs = _without(pairs, units)
    matrix = csr_matrix((pairs.values, pairs.columns, pairs.offsets), shape=(len(rows), len(rows)))
    scan = DBSCAN(eps=settings.eps, min_samples=settings.min_images, metric="precomputed")
    found: Ints = scan.fit_predict(matrix, sample_weight=units.sizes).astype(np.int64)
    if units.keeps_apart:
        found = _split(found, rows, units)
    return _numbered(found[units.of_image], settings.min_images)


def unit_rows(descriptors: Rows, units: Units) -> Rows:
    """(U, D) mean descriptors of the units, scaled to length 1."""
    sums = np.zeros((len(units), descriptors.shape[1]))
    np.add.at(sums, units.of_image, descriptors)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    unit: Rows = (sums / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return unit


def _without(pairs: SparseRows, units: Units) -> SparseRows:
    """The pairs of units that may be one person."""
    count = len(pairs.offsets) - 1
    first = np.repeat(np.arange(count), np.diff(pairs.offsets))
    kept = ~units.apart(first, pairs.columns)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(first[kept], minlength=count))])
    return SparseRows(offsets, pairs.columns[kept], pairs.values[kept])


def _split(labels: Ints, rows: Rows, units: Units) -> Ints:
    """The clusters, those with units that are two people in several; large units first, each where it fits best."""
    result, number = np.full_like(labels, -1), 0
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == label)
        parts: list[list[int]] = []
        sums: list[NDArray[np.float64]] = []
        for unit in members[np.argsort(-units.sizes[members], kind="stable")]:
            free = [
                k for k, part in enumerate(parts) if not units.apart(np.full(len(part), unit), np.array(part)).any()
            ]
            if free:
                fits = [float(sums[k] @ rows[unit] / np.linalg.norm(sums[k])) for k in free]
                best = free[int(np.argmax(fits))]
            else:
                best = len(parts)
                parts.append([])
                sums.append(np.zeros(rows.shape[1]))
            parts[best].append(int(unit))
            sums[best] += units.sizes[unit] * rows[unit]
        for part in parts:
            result[part] = number
            number += 1
    return result


def _numbered(labels: Ints, least: int) -> Ints:
    """Clusters of at least so many images, numbered in the order of their first images."""
    known = labels[labels >= 0]
    numbers, first, counts = np.unique(known, return_index=True, return_counts=True)
    order = numbers[np.argsort(first)]
    kept = [number for number in order if counts[numbers == number][0] >= least]
    table = np.full(int(labels.max(initial=-1)) + 2, -1, np.int64)  # the last place is that of -1
    table[kept] = np.arange(len(kept))
    return table[labels]


def check_clusters(labels: Ints, settings: Adapt) -> None:
    """Refuse (DataError) clusters that nothing can be learned from: none, or only one."""
    if not (labels >= 0).any():
        raise DataError(
            f"No cluster among {len(labels):,} images: nowhere are adapt.min_images={settings.min_images} of them "
            f"near enough (adapt.eps={settings.eps:g}). Add images of each person, or change these settings."
        )
    if labels.max() == 0:
        raise DataError(
            f"All {int((labels == 0).sum()):,} clustered images are one cluster (adapt.eps={settings.eps:g}): "
            "nothing tells people apart. Lower adapt.eps, or add images of other people."
        )


@dataclass(frozen=True)
class Clusters:
    """What an epoch's clusters are like.

    Attributes:
        clusters: how many.
        unclustered: share of the images that are in none.
        mean_size: images of a cluster.
        agreement: adjusted Rand index with the last epoch's clusters, over images that are in both; None in the
            first.
        silhouette: of tracks by their images' descriptors, -1 to 1; None without two tracks of two images.
    """

    clusters: int
    unclustered: float
    mean_size: float
    agreement: float | None = None
    silhouette: float | None = None

    def record(self) -> dict[str, float]:
        """The numbers that are known."""
        return {name: value for name, value in vars(self).items() if value is not None}


def measure(labels: Ints, before: Ints, descriptors: Rows, units: Units) -> Clusters:
    """What clusters are like: (N,) labels of this epoch and the one before (-1 in the first), (N, D) descriptors."""
    from sklearn.metrics import adjusted_rand_score

    count, clustered = int(labels.max(initial=-1)) + 1, labels >= 0
    both = clustered & (before >= 0)
    agreement = float(adjusted_rand_score(before[both], labels[both])) if both.any() else None
    mean = float(clustered.sum() / max(1, count))
    return Clusters(count, float(1 - clustered.mean()), mean, agreement, track_silhouette(descriptors, units))


def track_silhouette(descriptors: Rows, units: Units) -> float | None:
    """Silhouette of tracks with two images or more: of all, or of ``SILHOUETTE_IMAGES`` images, by whole tracks.

    Source: Rousseeuw, J. Comput. Appl. Math. 1987.
    """
    from sklearn.metrics import silhouette_score

    tracks = np.flatnonzero(units.sizes > 1)
    tracks = tracks[np.random.default_rng(0).permutation(len(tracks))]
    within = np.cumsum(units.sizes[tracks]) <= SILHOUETTE_IMAGES
    places = np.flatnonzero(np.isin(units.of_image, tracks[within]))
    if within.sum() < 2:
        return None
    return float(silhouette_score(descriptors[places], units.of_image[places]))


def near_pairs(descriptors: Descriptors, limit: float, *, k1: int = 30, k2: int = 6) -> SparseRows:
    """The Jaccard distances of all pairs of images whose neighborhoods overlap enough.

    Args:
        descriptors: (N, D) array or tensor, on any device.
        limit: largest distance that is kept, below 1; neighborhoods without a common image are at 1.
        k1: neighbors that are looked at, the image itself not counted; fewer where there are fewer images.
        k2: neighbors, the image counted, over which a neighborhood is averaged; 1 leaves it as it is.
    Returns:
        (N, N) sparse and symmetric up to rounding, without the diagonal; values from 0 to ``limit``.
    Raises:
        ArgumentError: fewer than two images, a parameter out of range, or far too many pairs.
    """
    everyone = descriptors.detach() if isinstance(descriptors, Tensor) else torch.as_tensor(np.asarray(descriptors))
    count = len(everyone)
    if count < 2:
        raise ArgumentError(f"Found {counted(count, 'image')}. Expected at least two.")
    if min(k1, k2) < 1 or not 0 <= limit < 1:
        raise ArgumentError(f"k1={k1}, k2={k2}, limit={limit}: expected at least 1, at least 1, and from 0 to below 1.")
    k1, k2 = min(k1, count - 1), min(k2, count)
    neighbors = np.empty((count, max(k1 + 1, k2)), dtype=np.int64)
    largest = np.empty(count)
    for first, block in distance_blocks(everyone, everyone, squared=True):
        rows = slice(first, first + len(block))
        neighbors[rows] = nearest(block, neighbors.shape[1]).cpu().numpy()
        largest[rows] = block.max(dim=1).values.clamp(min=torch.finfo(block.dtype).tiny).cpu().numpy()
    return _overlapping(encode_neighborhoods(everyone, neighbors, largest, k1, k2), limit)


def _overlapping(encoded: SparseRows, limit: float) -> SparseRows:
    """Jaccard distances up to ``limit`` of the rows of a sparse matrix, row by row."""
    count = len(encoded.offsets) - 1
    # By column: which images have a given image in their neighborhood, and how much.
    by_column = np.argsort(encoded.columns, kind="stable")
    owner_of = np.repeat(np.arange(count), np.diff(encoded.offsets))[by_column]
    weight = encoded.values[by_column]
    offsets = np.searchsorted(encoded.columns[by_column], np.arange(count + 1))
    all_columns, all_values, lengths, total = [], [], np.zeros(count, np.int64), 0
    for row in range(count):
        own = slice(encoded.offsets[row], encoded.offsets[row + 1])
        entries, entry_of = entries_of(offsets, encoded.columns[own])
        shared = np.minimum(encoded.values[own][entry_of], weight[entries])
        overlap = np.bincount(owner_of[entries], weights=shared, minlength=count)
        # Rounding must not make a distance of 0 negative.
        distances = np.maximum(0.0, 1.0 - overlap / (2.0 - overlap))
        distances[row] = np.inf
        kept = np.flatnonzero(distances <= limit)
        all_columns.append(kept)
        all_values.append(distances[kept])
        lengths[row] = len(kept)
        total += len(kept)
        if total > MOST_PAIRS * count:
            raise ArgumentError(
                f"More than {MOST_PAIRS:,} pairs for each of {count:,} images are within a distance of {limit:g}: they "
                "are all alike. Lower the limit, or look for images that are there many times."
            )
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return SparseRows(ends, np.concatenate(all_columns), np.concatenate(all_values))
