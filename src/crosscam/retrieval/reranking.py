"""k-reciprocal re-ranking.

Source: Zhong, Zheng, Cao & Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.

Two images are k-reciprocal neighbors if each is among the k nearest of the other. An image's neighbors, weighted by
distance, are a sparse vector over all images; two images are close if their vectors overlap. Nothing here is of the
size (Q + G)^2: distances come in blocks, neighborhoods are sparse rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.errors import ArgumentError
from crosscam.retrieval.distances import Descriptors, as_matrices, distance_blocks, pair_distances

Ints = NDArray[np.int64]
# Images whose neighborhoods are compared at a time.
ROWS_AT_A_TIME = 1024


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A sparse (N, M) matrix, row by row.

    Attributes:
        offsets: (N + 1,) row i has the entries ``offsets[i]:offsets[i + 1]``.
        columns: (nnz,) ascending within a row.
        values: (nnz,) float64.
    """

    offsets: Ints
    columns: Ints
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Reranking:
    """k-reciprocal re-ranking as a step after a search; see :func:`rerank`."""

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3
    done: ClassVar[str] = "re-ranked"

    def __str__(self) -> str:
        return f"k-reciprocal, k1={self.k1}, k2={self.k2}, lambda={self.lambda_value}"

    def check(self, num_query: int, num_gallery: int) -> None:
        """Raise ValueError if so many images do not allow these settings."""
        check_parameters(num_query, num_query + num_gallery, self.k1, self.k2, self.lambda_value)

    def distances(self, query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
        """(Q, G) distances that also ask whether two images have the same neighbors."""
        return rerank(query, gallery, k1=self.k1, k2=self.k2, lambda_value=self.lambda_value)


@overload
def rerank(
    query_descriptors: Tensor, gallery_descriptors: Descriptors, *, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> Tensor: ...
@overload
def rerank(
    query_descriptors: NDArray[Any],
    gallery_descriptors: NDArray[Any],
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> NDArray[np.float32]: ...
def rerank(
    query_descriptors: Descriptors,
    gallery_descriptors: Descriptors,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> Tensor | NDArray[np.float32]:
    """Distances that also ask whether two images have the same neighbors.

    Use them in place of :func:`crosscam.retrieval.pairwise_distances`. They depend on the whole gallery and on all
    queries, so a score with re-ranking is not comparable with one without.

    Args:
        query_descriptors: (Q, D) array or tensor, on any device.
        gallery_descriptors: (G, D).
        k1: neighbors that are looked at, the image itself not counted.
        k2: neighbors, the image counted, over which a neighborhood is averaged; 1 leaves it as it is.
        lambda_value: share of the original distance (squared, over the query's largest) in the result; the rest is
            the Jaccard distance of the neighborhoods.
    Returns:
        (Q, G) float32 in [0, 1]; a tensor on the queries' device, or an array for arrays.
    Raises:
        ValueError: a parameter out of range, or descriptors as in ``pairwise_distances``.
    """
    num_query, num_images = len(query_descriptors), len(query_descriptors) + len(gallery_descriptors)
    check_parameters(num_query, num_images, k1, k2, lambda_value)
    everyone = torch.cat(as_matrices(query_descriptors, gallery_descriptors))

    result = np.empty((num_query, num_images - num_query), dtype=np.float32)
    neighbors = np.empty((num_images, max(k1 + 1, k2)), dtype=np.int64)
    largest = np.empty(num_images)
    for first, block in distance_blocks(everyone, everyone, squared=True):
        rows = slice(first, first + len(block))
        neighbors[rows] = nearest(block, neighbors.shape[1]).cpu().numpy()
        # Equal descriptors everywhere: all distances are 0, and stay so.
        furthest = block.max(dim=1).values.clamp(min=torch.finfo(block.dtype).tiny)
        largest[rows] = furthest.cpu().numpy()
        if first < num_query:
            original = (block[:, num_query:] / furthest[:, None])[: num_query - first]
            result[first : first + len(original)] = original.cpu().numpy()

    encoded = encode_neighborhoods(everyone, neighbors, largest, k1, k2)
    _mix_jaccard(result, encoded, num_query, lambda_value)
    return torch.from_numpy(result).to(everyone.device) if isinstance(query_descriptors, Tensor) else result


def encode_neighborhoods(
    everyone: Tensor, neighbors: Ints, largest: NDArray[np.float64], k1: int, k2: int
) -> SparseRows:
    """The k-reciprocal neighborhood of every image as a sparse row of weights that sum to 1, eq. (7) in the paper.

    Args:
        everyone: (N, D) descriptors.
        neighbors: (N, >= max(k1 + 1, k2)) nearest images of each image, itself included, nearest first.
        largest: (N,) squared distance of each image to the one that is furthest from it.
        k1, k2: as in :func:`rerank`.
    """
    num_images = len(neighbors)
    rows_of, columns = k_reciprocal_neighbors(neighbors, k1)
    weights = np.exp(-pair_distances(everyone, rows_of, columns).astype(np.float64) / largest[rows_of])
    weights /= np.bincount(rows_of, weights=weights)[rows_of]
    encoded = _sparse_rows(rows_of, columns, weights, num_images)
    return _average_over(neighbors[:, :k2], encoded) if k2 > 1 else encoded


def check_parameters(num_query: int, num_images: int, k1: int, k2: int, lambda_value: float) -> None:
    """Refuse parameters that :func:`rerank` cannot use for so many queries and images, queries counted.

    Raises:
        ValueError: no query or no gallery image, or a parameter out of range.
    """
    if num_query == 0 or num_query == num_images:
        what = "queries" if num_query == 0 else "gallery images"
        raise ArgumentError(f"There are no {what}. Expected at least one descriptor of each.")
    for name, value, most in (("k1", k1, num_images - 1), ("k2", k2, num_images)):
        if not 1 <= value <= most:
            raise ArgumentError(
                f"{name} is {value}. Expected 1 to {most} for {num_query} queries and {num_images - num_query} "
                f"gallery images; choose a smaller {name} or a larger gallery."
                if value > most
                else f"{name} is {value}. Expected at least 1."
            )
    if not 0.0 <= lambda_value <= 1.0:
        raise ArgumentError(
            f"lambda_value is {lambda_value}. Expected 0 (neighborhoods only) to 1 (original distance)."
        )


def k_reciprocal_neighbors(neighbors: Ints, k1: int) -> tuple[Ints, Ints]:
    """The expanded k-reciprocal neighbors of every image, R* in the paper, eqs. (3) and (4).

    Args:
        neighbors: (N, >= k1 + 1) nearest images of each image, itself included, nearest first.
        k1: as in :func:`rerank`; the expansion looks at half as many.
    Returns:
        Pairs (image, neighbor), each (nnz,), sorted, each pair once.
    """
    num_images = len(neighbors)
    near, nearer = neighbors[:, : k1 + 1], neighbors[:, : round(k1 / 2) + 1]
    is_mutual, is_mutual_nearer = _is_mutual(near), _is_mutual(nearer)
    found = []
    for first in range(0, num_images, ROWS_AT_A_TIME):
        rows = slice(first, first + ROWS_AT_A_TIME)
        own = np.where(is_mutual[rows], near[rows], -1)  # (B, K)
        # The reciprocal neighbors of each neighbor, (B, K, K/2), and which of them are in the image's own set.
        theirs, exists = nearer[near[rows]], is_mutual_nearer[near[rows]]
        shared = np.zeros(theirs.shape, dtype=bool)
        for k in range(own.shape[1]):
            shared |= theirs == own[:, k, None, None]
        joins = is_mutual[rows] & (3 * (shared & exists).sum(axis=2) > 2 * exists.sum(axis=2))

        image = np.arange(first, first + len(own))
        candidates = np.concatenate([own, np.where(joins[..., None] & exists, theirs, -1).reshape(len(own), -1)], 1)
        keys = image[:, None] * num_images + candidates
        found.append(np.unique(keys[candidates >= 0]))
    return np.divmod(np.concatenate(found), num_images)


def _is_mutual(neighbors: Ints) -> NDArray[np.bool_]:
    """(N, K) whether the image is in turn among its neighbor's K."""
    mutual = np.zeros(neighbors.shape, dtype=bool)
    image = np.arange(len(neighbors))[:, None]
    for k in range(neighbors.shape[1]):
        mutual |= neighbors[neighbors, k] == image
    return mutual


def _sparse_rows(rows_of: Ints, columns: Ints, values: NDArray[np.float64], num_rows: int) -> SparseRows:
    offsets = np.searchsorted(rows_of, np.arange(num_rows + 1))
    return SparseRows(offsets, columns, values)


def _average_over(neighbors: Ints, encoded: SparseRows) -> SparseRows:
    """Each row becomes the mean of the rows of its (N, K) neighbors: the paper's local query expansion."""
    num_images, count = neighbors.shape
    all_keys, all_values = [], []
    for first in range(0, num_images, ROWS_AT_A_TIME):
        sources = neighbors[first : first + ROWS_AT_A_TIME]
        entries, source_of = entries_of(encoded.offsets, sources.ravel())
        keys = (first + source_of // count) * num_images + encoded.columns[entries]
        keys, place = np.unique(keys, return_inverse=True)
        all_keys.append(keys)
        all_values.append(np.bincount(place, weights=encoded.values[entries]) / count)
    rows_of, columns = np.divmod(np.concatenate(all_keys), num_images)
    return _sparse_rows(rows_of, columns, np.concatenate(all_values), num_images)


def entries_of(offsets: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """The entries of the given rows, one row after another, and for each which of ``rows`` it belongs to."""
    lengths = offsets[rows + 1] - offsets[rows]
    row_of = np.repeat(np.arange(len(rows)), lengths)
    starts = np.cumsum(lengths) - lengths
    return np.arange(len(row_of)) + (offsets[rows] - starts)[row_of], row_of


def _mix_jaccard(result: NDArray[np.float32], encoded: SparseRows, num_query: int, share: float) -> None:
    """Mix the Jaccard distance of each query's and each gallery image's row into ``result`` (Q, G), in place."""
    num_images = len(encoded.offsets) - 1
    first_entry = encoded.offsets[num_query]
    # The gallery's entries by column: who has a given image in its neighborhood, and how much.
    by_column = np.argsort(encoded.columns[first_entry:], kind="stable")
    owner_of = np.repeat(np.arange(num_images - num_query), np.diff(encoded.offsets[num_query:]))[by_column]
    weight = encoded.values[first_entry:][by_column]
    offsets = np.searchsorted(encoded.columns[first_entry:][by_column], np.arange(num_images + 1))
    for query, row in enumerate(result):
        own = slice(encoded.offsets[query], encoded.offsets[query + 1])
        entries, entry_of = entries_of(offsets, encoded.columns[own])
        overlap = np.bincount(
            owner_of[entries], weights=np.minimum(encoded.values[own][entry_of], weight[entries]), minlength=len(row)
        )
        row *= share
        row += (1.0 - share) * (1.0 - overlap / (2.0 - overlap))


def nearest(distances: Tensor, count: int) -> Tensor:
    """The nearest images of each row, nearest first; equal distances in the order of their index.

    Args:
        distances: (B, N) float32, not negative.
        count: K neighbors, at most N.
    Returns:
        (B, K) int64 on the device of ``distances``.
    """
    num_images = distances.shape[1]
    # One more than asked for: it tells whether a tie was cut.
    values, indices = distances.topk(min(count + 1, num_images), dim=1, largest=False)
    if count < num_images:
        cut = values[:, count] == values[:, count - 1]
        values, indices = values[:, :count], indices[:, :count]
        if cut.any():
            indices[cut] = _nearest_by_key(distances[cut], count)
            values = distances.gather(1, indices)
    indices, order = indices.sort(dim=1)
    by_value = values.gather(1, order).sort(dim=1, stable=True).indices
    return indices.gather(1, by_value)


def _nearest_by_key(distances: Tensor, count: int) -> Tensor:
    """As :func:`nearest`, in any order; slower, but exact where ties cross the cut."""
    # The bits of floats that are not negative are in the order of the floats; adding 0 makes -0 a plain 0.
    bits = (distances + 0.0).view(torch.int32).to(torch.int64)
    keys = (bits << 32) + torch.arange(distances.shape[1], device=distances.device)
    return keys.topk(count, dim=1, largest=False).indices
