"""Distances of sets of images, such as tracklets: the smallest, or the mean, of those of their images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError
from crosscam.retrieval.distances import distance_blocks

SetKind = Literal["minimum", "mean"]
Sets = NDArray[np.int64]


@dataclass(frozen=True)
class SetDistance:
    """Distances of tracklets as a step after a search; see :func:`set_distances`."""

    kind: SetKind
    done: ClassVar[str] = "by frames"

    def __str__(self) -> str:
        return f"{self.kind} distance of frames"

    def check(self, num_query: int, num_gallery: int) -> None:
        """Any number of tracklets will do."""


def set_distances(
    query: NDArray[Any], gallery: NDArray[Any], query_sets: Sets, gallery_sets: Sets, kind: SetKind = "minimum"
) -> NDArray[np.float32]:
    """Euclidean distances of sets: the smallest of all pairs of images, one of each set, or their mean.

    A block of queries is compared at a time.

    Args:
        query: (Q, D).
        gallery: (G, D).
        query_sets: (Q,) the set of each query, numbered from 0 without gaps.
        gallery_sets: (G,) likewise.
        kind: ``"minimum"`` or ``"mean"``.
    Returns:
        (S, T) for S sets of queries and T sets of the gallery.
    Raises:
        ValueError: another kind, set numbers of another length or with gaps, or descriptors as in
            :func:`crosscam.pairwise_distances`.
    """
    if kind not in get_args(SetKind):
        raise ArgumentError(f"Unknown distance of sets {kind!r}. Expected one of {', '.join(get_args(SetKind))}.")
    sizes = [_sizes(sets, len(rows)) for sets, rows in ((query_sets, query), (gallery_sets, gallery))]
    order = np.argsort(gallery_sets, kind="stable")
    starts = np.cumsum([0, *sizes[1][:-1]])
    smallest = kind == "minimum"
    merge = np.minimum if smallest else np.add
    result = np.full((len(sizes[0]), len(sizes[1])), np.inf if smallest else 0.0, np.float64)
    for first, block in distance_blocks(query, np.asarray(gallery)[order]):
        merged = merge.reduceat(block.double().numpy(), starts, axis=1)
        for row, number in zip(merged, query_sets[first : first + len(merged)], strict=True):
            merge(result[number], row, out=result[number])
    return (result if smallest else result / np.outer(*sizes)).astype(np.float32)


def _sizes(sets: Sets, rows: int) -> NDArray[np.int64]:
    """How many images each set has."""
    sizes = np.bincount(sets) if len(sets) and min(sets) >= 0 else np.zeros(1, np.int64)
    if len(sets) != rows or not sizes.all():
        raise ArgumentError(f"Expected a set for each of {rows} images, numbered from 0 without gaps.")
    return sizes
