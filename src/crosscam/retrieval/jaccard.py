"""Images with similar neighborhoods: the Jaccard distances of k-reciprocal re-ranking, of near pairs alone.

Source: Zhong, Zheng, Cao & Li, CVPR 2017, eqs. (7) and (8), as :mod:`crosscam.retrieval.reranking` computes them.

Nothing here is of the size N^2: descriptors are compared block by block (64 MB), neighborhoods are sparse rows, and
only pairs up to a limit are kept, at most ``MOST_PAIRS`` for each image on average.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crosscam.errors import ArgumentError
from crosscam.retrieval.distances import Descriptors, distance_blocks
from crosscam.retrieval.reranking import SparseRows, encode_neighborhoods, entries_of, nearest

# Pairs that are kept for each image on average: 16 bytes each, so that 10,000 images take at most 160 MB.
MOST_PAIRS = 1000


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
        raise ArgumentError(f"There are {count} images. Expected at least two.")
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
                "are all alike. Lower the limit, or look for pictures that are there many times."
            )
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return SparseRows(ends, np.concatenate(all_columns), np.concatenate(all_values))
