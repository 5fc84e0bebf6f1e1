"""Labels of a ranking, and where each match of a query stands in it: closer images are counted, nothing is sorted.

A ranking of G gallery images has only a few matches, and every score depends on their places alone. The place of a
match is the number of non-matches before it plus the number of matches before it. The former is counted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from crosscam.data.labels import largest_whole, whole_numbers
from crosscam.data.records import DISTRACTOR_PID, JUNK_PID
from crosscam.errors import ArgumentError

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labels:
    """Checked labels, int64: (Q,) of the queries and (G,) of the gallery."""

    query_pids: Ints
    gallery_pids: Ints
    query_camids: Ints
    gallery_camids: Ints


def check_labels(
    shape: tuple[int, ...],
    query_pids: ArrayLike | Tensor,
    gallery_pids: ArrayLike | Tensor,
    query_camids: ArrayLike | Tensor,
    gallery_camids: ArrayLike | Tensor,
) -> Labels:
    """The labels of a (Q, G) ``shape`` as int64 arrays; ValueError for none, another length, or no whole numbers."""
    if shape[1] == 0:
        raise ArgumentError("The gallery is empty. Expected at least one gallery image to rank.")
    if shape[0] == 0:
        raise ArgumentError("There are no queries. Expected at least one query image.")
    return Labels(
        query_pids=_label_array("query_pids", query_pids, shape[0], "queries"),
        gallery_pids=_label_array("gallery_pids", gallery_pids, shape[1], "gallery images"),
        query_camids=_label_array("query_camids", query_camids, shape[0], "queries"),
        gallery_camids=_label_array("gallery_camids", gallery_camids, shape[1], "gallery images"),
    )


def _label_array(name: str, labels: ArrayLike | Tensor, length: int, what: str) -> Ints:
    if isinstance(labels, Tensor):
        values = labels.detach().cpu()
        if values.dtype == torch.bfloat16:  # numpy has none
            values = values.float()
            if (values.abs() > largest_whole(8)).any():
                raise ArgumentError(
                    f"{name} is bfloat16, which does not tell numbers above {largest_whole(8)} apart. Give them whole."
                )
        array = values.numpy()
    else:
        array = labels if isinstance(labels, np.ma.MaskedArray) else np.asarray(labels)
    if array.shape != (length,):
        raise ArgumentError(
            f"{name} has shape {array.shape}. Expected ({length},): one for each of the {length} {what}."
        )
    return whole_numbers(array, name)


Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Matches:
    """The gallery images that share a query's identity, query after query.

    Attributes:
        offsets: (Q + 1,) the matches of query q are entries ``offsets[q]:offsets[q + 1]`` of ``columns``.
        columns: (M,) gallery index of each match: same pid, other camera; ascending within a query.
        same_offsets: (Q + 1,) as ``offsets``, for ``same_columns``.
        same_columns: (S,) gallery images of the query's pid under any camera; none of them is a non-match.
        usable: (G,) False for junk.
    """

    offsets: Ints
    columns: Ints
    same_offsets: Ints
    same_columns: Ints
    usable: NDArray[np.bool_]

    @property
    def per_query(self) -> Ints:
        """(Q,) number of matches of each query."""
        return np.diff(self.offsets)

    @property
    def query_of(self) -> Ints:
        """(M,) the query of each match."""
        return self.query_of_rows(0, len(self.offsets) - 1)

    def query_of_rows(self, first_query: int, count: int) -> Ints:
        """The query of each match of ``count`` queries from ``first_query`` on."""
        lengths = np.diff(self.offsets[first_query : first_query + count + 1])
        return np.repeat(np.arange(first_query, first_query + count), lengths)


def find_matches(labels: Labels) -> Matches:
    """Gallery images of each query's identity. Junk and distractors match no query."""
    query_pids, gallery_pids = labels.query_pids, labels.gallery_pids
    by_pid = np.argsort(gallery_pids, kind="stable")
    sorted_pids = gallery_pids[by_pid]
    start = np.searchsorted(sorted_pids, query_pids, side="left")
    length = np.searchsorted(sorted_pids, query_pids, side="right") - start
    length[(query_pids == JUNK_PID) | (query_pids == DISTRACTOR_PID)] = 0

    same_offsets = _offsets(length)
    query_of = np.repeat(np.arange(len(query_pids)), length)
    within = np.arange(same_offsets[-1]) - same_offsets[query_of]
    same_columns = by_pid[start[query_of] + within]
    other_camera = labels.gallery_camids[same_columns] != labels.query_camids[query_of]
    return Matches(
        offsets=_offsets(np.bincount(query_of[other_camera], minlength=len(query_pids))),
        columns=same_columns[other_camera],
        same_offsets=same_offsets,
        same_columns=same_columns,
        usable=gallery_pids != JUNK_PID,
    )


def _offsets(lengths: Ints) -> Ints:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


@dataclass(frozen=True, eq=False)
class Places:
    """Where matches stand in their rankings: all (M,), in the order of :attr:`Matches.columns`.

    Attributes:
        others_before: non-matches ranked before the match.
        others_not_after: non-matches at most as far as the match: those before, and the rest of its ties.
        matches_before: other matches of the query ranked before.
        matches_not_after: matches of the query at most as far, itself included.
    """

    others_before: Ints
    others_not_after: Ints
    matches_before: Ints
    matches_not_after: Ints


def count_closer(distances: Floats, matches: Matches, first_query: int = 0) -> Places:
    """The places of the matches of a block of queries; equal distances rank by gallery index, as in a stable sort.

    ``distances``: (B, G) rows of the queries from ``first_query`` on, float32 or float64, C order; ValueError for NaN.
    """
    last_query = first_query + len(distances)
    offsets = matches.offsets[first_query : last_query + 1]
    same_offsets = matches.same_offsets[first_query : last_query + 1]
    columns = matches.columns[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    counts = np.zeros((4, len(columns)), dtype=np.int64)
    raise_if_nan(distances, first_query)
    for row, values in enumerate(distances):
        mine = slice(offsets[row], offsets[row + 1])
        same = matches.same_columns[same_offsets[row] : same_offsets[row + 1]]
        # NaN is neither less than nor equal to anything: it takes an image out of every count.
        others = np.where(matches.usable, values, values.dtype.type(np.nan))
        others[same] = np.nan
        own = values[columns[mine]]
        _add_places(others, own, columns[mine], counts[:2, mine])
        _add_places(own, own, np.arange(len(own)), counts[2:, mine])
    return Places(*counts)


def add_strangers(distances: Floats, offsets: Ints, places: Ints, limits: Floats, counts: Ints) -> bool:
    """Add to each match how many of a block of gallery images come before it; none of them is a match.

    Args:
        distances: (B, S) of B queries to these images; float32 or float64, C order.
        offsets: (B + 1,) the matches of row b are entries ``offsets[b]:offsets[b + 1]`` of the next three.
        places: (M,) how many of these images have a lower gallery index than the match, and win a tie.
        limits: (M,) distance of the match.
        counts: (2, M) added to in place: images before the match, and images not after it.
    Returns:
        Whether no distance is NaN; where one is, the counts are of no use.
    """
    for row, values in enumerate(distances):
        mine = slice(offsets[row], offsets[row + 1])
        _add_places(values, limits[mine], places[mine], counts[:, mine])
    return not np.isnan(distances).any()


def _add_places(values: Floats, limits: Floats, places: Ints, counts: Ints) -> None:
    """Add to (2, M) ``counts`` how many (S,) values come before each limit (``places[m]`` of ties), or not after."""
    for m, limit in enumerate(limits):
        not_after = np.count_nonzero(values <= limit)
        counts[0, m] += not_after - np.count_nonzero(values[places[m] :] == limit)
        counts[1, m] += not_after


def join_places(parts: list[Places]) -> Places:
    """The places of consecutive blocks as one."""
    names = ("others_before", "others_not_after", "matches_before", "matches_not_after")
    return Places(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def raise_if_nan(distances: Floats, first_query: int = 0) -> None:
    """Refuse a (B, G) block that holds a NaN, naming its first place."""
    for row, values in enumerate(distances):
        is_nan = np.isnan(values)
        if is_nan.any():
            raise ArgumentError(
                f"Distances hold NaN, first at query {first_query + row}, gallery {int(is_nan.argmax())}. "
                "Expected numbers; look for descriptors that are not finite."
            )


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
