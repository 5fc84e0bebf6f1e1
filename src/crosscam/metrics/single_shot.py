"""The CMC of the single-gallery-shot protocol: one image of each identity stands in the gallery.

Papers on CUHK03's first protocol draw those images at random and average over some draws. Here the average over
*all* draws is computed. Given a match, every other identity has its image before that match with the probability
(its images before the match) / (its images); how many do is a sum of independent coins, whose distribution is exact.
The random draws are there too, for comparison with figures that were made with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from crosscam.data.records import JUNK_PID
from crosscam.metrics.counting import Floats, Ints, Labels, Matches, check_labels, find_matches, raise_if_nan


def expected_single_shot(
    distances: Floats, labels: Labels, matches: Matches, first_query: int, max_rank: int
) -> NDArray[np.float64]:
    """(R,) float64 sum over a block's queries of the expected single-gallery-shot CMC.

    Gallery images of the query's camera, and junk, are left out. All distractors count as one identity. ``distances``
    are (B, G) rows of the queries from ``first_query`` on; equal ones rank by gallery index.
    """
    identities, identity_of = np.unique(labels.gallery_pids, return_inverse=True)
    total = np.zeros(max_rank)
    for query, values in enumerate(distances, start=first_query):
        columns = matches.columns[matches.offsets[query] : matches.offsets[query + 1]]
        if not len(columns):
            continue
        allowed = _other_cameras(labels, query)
        chance = _chance_before(values, columns, identity_of, allowed, len(identities))
        chance[:, identity_of[columns[0]]] = 0.0
        total += _cmc_of_coins(chance, max_rank).mean(axis=0)
    return total


def sampled_single_shot_cmc(
    distances: NDArray[Any],
    query_pids: ArrayLike | Tensor,
    gallery_pids: ArrayLike | Tensor,
    query_camids: ArrayLike | Tensor,
    gallery_camids: ArrayLike | Tensor,
    *,
    repeats: int = 10,
    seed: int = 0,
    max_rank: int = 50,
) -> NDArray[np.float64]:
    """(R,) float64 single-gallery-shot CMC by random draws, as it was first computed.

    ``evaluate_ranking(..., protocol="cuhk03")`` is what this approaches with more repeats. The numbers drawn are
    numpy's legacy ones, in the order of the older tools (query, repeat, identity by its best place), so that a figure
    of theirs can be had again with its seed.

    Args:
        distances: (Q, G), smaller is closer; equal distances rank by gallery index.
        repeats: draws per query.
        seed: of the draws.
    Raises:
        ValueError: as :func:`crosscam.evaluate_ranking` does.
    """
    labels = check_labels(distances.shape, query_pids, gallery_pids, query_camids, gallery_camids)
    matches = find_matches(labels)
    raise_if_nan(distances)
    legacy = np.random.RandomState(seed)
    gained = np.zeros(max_rank + 1)
    for query in np.flatnonzero(matches.per_query).tolist():
        candidates = np.flatnonzero(_other_cameras(labels, query))
        ranked = candidates[np.argsort(distances[query, candidates], kind="stable")]
        pids, first, identity_of = np.unique(labels.gallery_pids[ranked], return_index=True, return_inverse=True)
        by_best_place = np.argsort(first)
        places = [np.flatnonzero(identity_of == k) for k in by_best_place]
        own = int(np.flatnonzero(pids[by_best_place] == labels.query_pids[query])[0])
        for _ in range(repeats):
            drawn = np.array([p[legacy.randint(0, len(p))] for p in places])
            gained[min(int(np.count_nonzero(drawn < drawn[own])), max_rank)] += 1
    return np.cumsum(gained[:max_rank]) / (repeats * np.count_nonzero(matches.per_query))


def _other_cameras(labels: Labels, query: int) -> NDArray[np.bool_]:
    """(G,) which gallery images stand in this protocol's gallery."""
    allowed: NDArray[np.bool_] = labels.gallery_camids != labels.query_camids[query]
    allowed &= labels.gallery_pids != JUNK_PID
    return allowed


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
