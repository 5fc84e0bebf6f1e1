"""How well people are kept apart and together over all cameras: identity scores of tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.errors import ArgumentError, CrosscamError
from crosscam.system import needed


@dataclass(frozen=True)
class IdentityScores:
    """Shares in [0, 1].

    Attributes:
        idf1: of all detections, true and found, those that the best one-to-one assignment of found people to true ones
            explains, over all cameras at once (Ristani et al., ECCV workshops 2016).
        idp, idr: the same as precision and recall.
        link_precision: of pairs of tracks that were made one person, those that are; 1 without such pairs.
        link_recall: of pairs of tracks that are one person, those that were made one; 1 without such pairs.
        people, found: true and found people.
        detections: true detections.
    """

    idf1: float
    idp: float
    idr: float
    link_precision: float
    link_recall: float
    people: int
    found: int
    detections: int


def identity_scores(
    true: ArrayLike, found: ArrayLike, weights: ArrayLike | None = None, *, missed: int = 0
) -> IdentityScores:
    """Compare people that were found with true ones, over all cameras.

    Args:
        true, found: (T,) true person of each track, below 0 where it is not known, and found person.
        weights: (T,) detections in each track; 1 by default.
        missed: true detections in no track.
    Raises:
        ValueError: arrays that do not fit, or a negative weight.
        CrosscamError: scipy is missing.
    """
    said = "Identity scores need scipy: pip install 'crosscam[gallery]'."
    needed("scipy.sparse", said, CrosscamError)
    who, guess = np.asarray(true, np.int64).ravel(), np.asarray(found, np.int64).ravel()
    counts = np.ones(len(who), np.int64) if weights is None else np.asarray(weights, np.int64).ravel()
    if not len(who) == len(guess) == len(counts) or (counts < 0).any() or missed < 0:
        raise ArgumentError("Expected a true person, a found person and a weight of 0 or more for each track.")
    real = who >= 0
    total_true, total_found = int(counts[real].sum()) + missed, int(counts.sum())
    hits = _assigned(who[real], guess[real], counts[real])
    right = _pairs(np.unique(np.stack((who[real], guess[real])), axis=1, return_counts=True)[1])
    of_found, of_true = (np.unique(numbers, return_counts=True)[1] for numbers in (guess, who[real]))
    return IdentityScores(
        idf1=_share(2 * hits, total_true + total_found),
        idp=_share(hits, total_found),
        idr=_share(hits, total_true),
        link_precision=_share(right, _pairs(of_found)),
        link_recall=_share(right, _pairs(of_true)),
        people=len(of_true),
        found=len(of_found),
        detections=total_true,
    )


def _assigned(who: NDArray[np.int64], guess: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    """Detections that the best one-to-one assignment explains; only people who share a track are compared."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not len(who):
        return 0
    (rows, columns), met = np.unique(np.stack((who, guess)), axis=1, return_inverse=True)
    weights = np.zeros(len(rows), np.int64)
    np.add.at(weights, met.ravel(), counts)
    rows, columns = (np.unique(numbers, return_inverse=True)[1] for numbers in (rows, columns))
    # Each true person may stay alone, with one of their own. A weight of 0 would be no edge: all are larger by 1.
    people = np.arange(rows.max() + 1)
    rows, columns = np.concatenate((rows, people)), np.concatenate((columns, columns.max() + 1 + people))
    weights = np.concatenate((weights, np.zeros_like(people))) + 1
    table = coo_array((weights.astype(np.float64), (rows, columns))).tocsr()
    return int(table[min_weight_full_bipartite_matching(table, maximize=True)].sum()) - len(people)


def _pairs(counts: NDArray[np.int64]) -> int:
    return int((counts * (counts - 1) // 2).sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
