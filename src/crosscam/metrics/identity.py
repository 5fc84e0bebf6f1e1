"""How well people are kept apart and together over all cameras: identity scores of tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

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
    linear_sum_assignment = needed("scipy.optimize", said, CrosscamError).linear_sum_assignment
    who, guess = np.asarray(true, np.int64).ravel(), np.asarray(found, np.int64).ravel()
    counts = np.ones(len(who), np.int64) if weights is None else np.asarray(weights, np.int64).ravel()
    if not len(who) == len(guess) == len(counts) or (counts < 0).any() or missed < 0:
        raise ArgumentError("Expected a true person, a found person and a weight of 0 or more for each track.")
    real = who >= 0
    _, rows = np.unique(who[real], return_inverse=True)
    names, columns = np.unique(guess, return_inverse=True)
    table = np.zeros((int(rows.max(initial=-1)) + 1, len(names)), np.int64)
    np.add.at(table, (rows, columns[real]), counts[real])
    hits = int(table[linear_sum_assignment(table, maximize=True)].sum())
    total_true, total_found = int(counts[real].sum()) + missed, int(counts.sum())
    same_true = (who[:, None] == who[None, :]) & real[:, None]
    same_found = guess[:, None] == guess[None, :]
    pairs = np.triu(np.ones((len(who), len(who)), bool), 1)
    right = int((same_true & same_found & pairs).sum())
    return IdentityScores(
        idf1=_share(2 * hits, total_true + total_found),
        idp=_share(hits, total_found),
        idr=_share(hits, total_true),
        link_precision=_share(right, int((same_found & pairs).sum())),
        link_recall=_share(right, int((same_true & pairs).sum())),
        people=len(table),
        found=len(names),
        detections=total_true,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
