"""The CMC of the single-gallery-shot protocol: one image of each identity stands in the gallery.

Papers on CUHK03's first protocol draw those images at random and average over some draws. Here the average over
*all* draws is computed. Given a match, every other identity has its image before that match with the probability
(its images before the match) / (its images); how many do is a sum of independent coins, whose distribution is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosscam.data.records import JUNK_PID
from crosscam.retrieval.counting import Floats, Ints, Matches


def expected_single_shot(
    distances: Floats,
    gallery_pids: Ints,
    query_camids: Ints,
    gallery_camids: Ints,
    matches: Matches,
    first_query: int,
    max_rank: int,
) -> NDArray[np.float64]:
    """Sum over a block's queries of the expected single-gallery-shot CMC.

    Gallery images of the query's camera, and junk, are left out. All distractors count as one identity.

    Args:
        distances: (B, G) rows of the queries from ``first_query`` on; equal distances rank by gallery index.
        gallery_pids: (G,).
        query_camids: (Q,).
        gallery_camids: (G,).
        matches: of all queries.
        first_query: the query of the first row.
        max_rank: length R of the CMC.
    Returns:
        (R,) float64.
    """
    identities, identity_of = np.unique(gallery_pids, return_inverse=True)
    total = np.zeros(max_rank)
    for row, values in enumerate(distances):
        query = first_query + row
        columns = matches.columns[matches.offsets[query] : matches.offsets[query + 1]]
        if not len(columns):
            continue
        allowed = (gallery_camids != query_camids[query]) & (gallery_pids != JUNK_PID)
        own = identity_of[columns[0]]
        chance = _chance_before(values, columns, identity_of, allowed, len(identities))
        chance[:, own] = 0.0
        total += _cmc_of_coins(chance, max_rank).mean(axis=0)
    return total


def _chance_before(
    values: Floats, columns: Ints, identity_of: Ints, allowed: NDArray[np.bool_], num_identities: int
) -> NDArray[np.float64]:
    """(M_q, K) chance that the image drawn of identity k ranks before each match in ``columns``."""
    candidates = np.flatnonzero(allowed)
    of = identity_of[candidates]
    size = np.maximum(np.bincount(of, minlength=num_identities), 1)
    distance = values[candidates]
    chance = np.empty((len(columns), num_identities))
    for k, column in enumerate(columns):
        closer = (distance < values[column]) | ((distance == values[column]) & (candidates < column))
        chance[k] = np.bincount(of[closer], minlength=num_identities) / size
    return chance


def _cmc_of_coins(chance: NDArray[np.float64], max_rank: int) -> NDArray[np.float64]:
    """(M_q, R) probability that fewer than r of the K independent coins with ``chance`` (M_q, K) show heads."""
    exactly = np.zeros((len(chance), max_rank))
    exactly[:, 0] = 1.0
    for k in np.flatnonzero(chance.any(axis=0)):
        heads = chance[:, k, None]
        moved = exactly[:, :-1] * heads
        exactly *= 1.0 - heads
        exactly[:, 1:] += moved
    return np.cumsum(exactly, axis=1)
