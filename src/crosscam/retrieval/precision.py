"""The scores that follow from the places of the matches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crosscam.retrieval.counting import Matches, Places


def step_precision(places: Places) -> NDArray[np.float64]:
    """(M,) precision at each match, or at the last of its ties."""
    precision: NDArray[np.float64] = places.matches_not_after / (places.matches_not_after + places.others_not_after)
    return precision


def trapezoid_precision(places: Places) -> NDArray[np.float64]:
    """(M,) mean of the precision at each match and that one image earlier, which is 1 before the first image."""
    earlier = places.matches_before + places.others_before
    precision_earlier = np.where(earlier > 0, places.matches_before / np.maximum(earlier, 1), 1.0)
    precision: NDArray[np.float64] = (places.matches_before + 1) / (earlier + 1)
    return (precision_earlier + precision) / 2


def mean_per_query(values: NDArray[np.float64], matches: Matches) -> NDArray[np.float64]:
    """(Q,) mean of (M,) values over each query's matches; NaN where a query has none."""
    sums = np.bincount(matches.query_of, weights=values, minlength=len(matches.per_query))
    means = np.full(len(sums), np.nan)
    np.divide(sums, matches.per_query, out=means, where=matches.per_query > 0)
    return means


def match_curve(places: Places, matches: Matches, max_rank: int, *, first_only: bool) -> NDArray[np.float64]:
    """(R,) share of the queries, or of their matches, with fewer than r non-matches before."""
    share = (places.matches_before == 0) if first_only else 1 / matches.per_query[matches.query_of]
    capped = np.minimum(places.others_before, max_rank)
    gained = np.bincount(capped, weights=share, minlength=max_rank + 1)
    return np.cumsum(gained[:max_rank]) / np.count_nonzero(matches.per_query)


def first_match_rank(places: Places, matches: Matches) -> NDArray[np.int64]:
    """(Q,) rank of each query's first match, counted from 1; 0 where a query has none."""
    first = places.matches_before == 0
    ranks = np.zeros(len(matches.per_query), dtype=np.int64)
    ranks[matches.query_of[first]] = places.others_before[first] + 1
    return ranks


def inverse_negative_penalty(places: Places, matches: Matches) -> NDArray[np.float64]:
    """(number of queries with a match,) matches / rank of the last match."""
    last = places.matches_before + 1 == matches.per_query[matches.query_of]
    count = places.matches_before[last] + 1
    penalty: NDArray[np.float64] = count / (count + places.others_before[last])
    return penalty
