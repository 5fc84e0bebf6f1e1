"""Expanded cross neighborhood (ECN) re-ranking.

Source: Sarfraz, Schumann, Eberle & Stiefelhagen, "A Pose-Sensitive Embedding for Person Re-Identification with Expanded
Cross Neighborhood Re-Ranking", CVPR 2018, with the authors' distance of rank lists, equations (2) to (4).

Two images are near if each is near the neighbors of the other, by how much their lists of nearest images agree. Nothing
here is of the size (Q + G)^2: every image has a list of k neighbors and one of t + t * q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam.errors import ArgumentError
from crosscam.retrieval.distances import Descriptors, as_matrices, distance_blocks
from crosscam.retrieval.reranking import Ints, entries_of, nearest


@dataclass(frozen=True)
class CrossNeighborhoods:
    """ECN re-ranking as a step after a search; see :func:`rerank_ecn`."""

    k: int = 25
    t: int = 3
    q: int = 8
    done: ClassVar[str] = "re-ranked by ECN"

    def __str__(self) -> str:
        return f"expanded cross neighborhoods, k={self.k}, t={self.t}, q={self.q}"

    def check(self, num_query: int, num_gallery: int) -> None:
        """Raise ValueError if so many images do not allow these settings."""
        _check(num_query, num_gallery, self.k, self.t, self.q)

    def distances(self, query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
        """(Q, G) distances by the neighbors of both."""
        return rerank_ecn(query, gallery, k=self.k, t=self.t, q=self.q)


@overload
def rerank_ecn(query: Tensor, gallery: Descriptors, *, k: int = 25, t: int = 3, q: int = 8) -> Tensor: ...
@overload
def rerank_ecn(
    query: NDArray[Any], gallery: NDArray[Any], *, k: int = 25, t: int = 3, q: int = 8
) -> NDArray[np.float32]: ...
def rerank_ecn(
    query: Descriptors, gallery: Descriptors, *, k: int = 25, t: int = 3, q: int = 8
) -> Tensor | NDArray[np.float32]:
    """Distances by the expanded neighbors of both images, in place of those of :func:`pairwise_distances`.

    The neighbors of an image are its ``t`` nearest ones and the ``q`` nearest of each of these. The distance of a query
    and a gallery image is the mean distance of the query's neighbors to the gallery image, and the other way round. It
    compares lists of the ``k`` nearest images, the image itself first: place r weighs k + 1 - r, the products of
    both weights are added up, and the sum of two equal lists is distance 0. Queries and gallery are neighbors alike.

    Args:
        query: (Q, D) array or tensor, on any device.
        gallery: (G, D).
        k: length of the lists that are compared.
        t: nearest neighbors, the image not counted.
        q: neighbors of each neighbor.
    Returns:
        (Q, G) float32 in [0, 1]; a tensor on the query's device, or an array for arrays.
    Raises:
        ValueError: a parameter out of range, or descriptors as in ``pairwise_distances``.
    """
    _check(len(query), len(gallery), k, t, q)
    everyone = torch.cat(as_matrices(query, gallery))
    near = np.empty((len(everyone), max(k, t + 1, q + 1)), np.int64)
    for first, block in distance_blocks(everyone, everyone, squared=True):
        near[first : first + len(block)] = nearest(block, near.shape[1]).cpu().numpy()
    result = _distances(near, len(query), k, t, q)
    return torch.from_numpy(result).to(everyone.device) if isinstance(query, Tensor) else result


def _check(num_query: int, num_gallery: int, k: int, t: int, q: int) -> None:
    if min(num_query, num_gallery) < 1:
        what = "queries" if num_query < 1 else "gallery images"
        raise ArgumentError(f"There are no {what}. Expected at least one descriptor of each.")
    images = num_query + num_gallery
    for name, value, most in (("k", k, images), ("t", t, images - 1), ("q", q, images - 1)):
        if not 1 <= value <= most:
            raise ArgumentError(
                f"ECN: {name} is {value}. Expected 1 to {most} for {num_query} queries and {num_gallery} gallery "
                f"images; take a larger gallery, or another {name} by crosscam.retrieval.rerank_ecn."
            )


def _distances(near: Ints, num_query: int, k: int, t: int, q: int) -> NDArray[np.float32]:
    """(Q, G) from the (N, >= max(k, t + 1, q + 1)) nearest images of each image, itself included, nearest first."""
    lists, weights = near[:, :k], np.arange(k, 0, -1, dtype=np.float64)
    first_ones = near[:, 1 : t + 1]
    expanded = np.concatenate([first_ones, near[first_ones, 1 : q + 1].reshape(len(near), -1)], axis=1)
    in_list, in_expanded = _Owners(lists, weights), _Owners(expanded[num_query:], np.ones(expanded.shape[1]))
    scale = 2 * expanded.shape[1] * float(weights @ weights)
    result = np.empty((num_query, len(near) - num_query), np.float32)
    for i in range(num_query):
        alike = in_list.add_up(lists[i], weights)
        of_neighbors = in_list.add_up(lists[expanded[i]].ravel(), np.tile(weights, expanded.shape[1]))[num_query:]
        places = np.flatnonzero(alike)
        result[i] = 1 - (of_neighbors + in_expanded.add_up(places, alike[places])) / scale
    return result


class _Owners:
    """Lists turned round: which of the lists hold an image, and with what weight.

    Args:
        lists: (L, K) images.
        weights: (K,) of the places in a list.
    """

    def __init__(self, lists: Ints, weights: NDArray[np.float64]) -> None:
        self.count, flat = len(lists), lists.ravel()
        order = np.argsort(flat, kind="stable")
        self._owner, self._weight = order // lists.shape[1], weights[order % lists.shape[1]]
        self._offsets = np.searchsorted(flat[order], np.arange(int(flat.max(initial=0)) + 2))

    def add_up(self, images: Ints, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(L,) for each list the sum over these images of its weight times the image's value."""
        known = images < len(self._offsets) - 1
        entries, image_of = entries_of(self._offsets, images[known])
        shares = self._weight[entries] * values[known][image_of]
        sums = np.bincount(self._owner[entries], weights=shares, minlength=self.count)
        return sums.astype(np.float64, copy=False)
