"""The counts of counting.py where the distances are on another device than the CPU: torch, and nothing but torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crosscam.errors import ArgumentError
from crosscam.retrieval.counting import Matches, Places
from crosscam.retrieval.labels import Ints

# Distances compared at a time.
COMPARED_ELEMENTS = 32_000_000


def count_closer_on_device(distances: Tensor, matches: Matches, first_query: int = 0) -> Places:
    """As :func:`crosscam.retrieval.counting.count_closer`, with the same counts.

    Args:
        distances: (B, G) floating, on any device.
        matches: of all queries.
        first_query: the query of the first row.
    Raises:
        ValueError: a distance is NaN.
    """
    last_query = first_query + len(distances)
    offsets = matches.offsets[first_query : last_query + 1]
    columns = matches.columns[offsets[0] : offsets[-1]]
    rows = matches.query_of_rows(first_query, len(distances)) - first_query
    counts = np.zeros((4, len(columns)), dtype=np.int64)
    if (nan_rows := torch.isnan(distances).any(dim=1)).any():
        row = int(nan_rows.nonzero()[0])
        column = int(torch.isnan(distances[row]).nonzero()[0])
        raise ArgumentError(
            f"Distances hold NaN, first at query {first_query + row}, gallery {column}. "
            "Expected numbers; look for descriptors that are not finite."
        )
    limits = distances[_on(rows, distances), _on(columns, distances)]

    # NaN is neither less than nor equal to anything: it takes an image out of every count.
    others = distances.masked_fill(~torch.from_numpy(matches.usable).to(distances.device), torch.nan)
    same_offsets = matches.same_offsets[first_query : last_query + 1]
    same_columns = matches.same_columns[same_offsets[0] : same_offsets[-1]]
    same_rows = np.repeat(np.arange(len(distances)), np.diff(same_offsets))
    others[_on(same_rows, distances), _on(same_columns, distances)] = torch.nan
    add_strangers_on_device(others, rows, columns, limits, counts[:2])

    # The matches alone, side by side: row b holds those of query b, and NaN up to the longest.
    lengths = np.diff(offsets)
    place = np.arange(len(columns)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    own = distances.new_full((len(distances), int(lengths.max(initial=0))), torch.nan)
    own[_on(rows, distances), _on(place, distances)] = limits
    add_strangers_on_device(own, rows, place, limits, counts[2:])
    return Places(*counts)


def add_strangers_on_device(distances: Tensor, rows: Ints, places: Ints, limits: Tensor, counts: Ints) -> None:
    """As :func:`crosscam.retrieval.counting.add_strangers`, but NaN only takes an image out of the counts.

    Args:
        distances: (B, S) floating, on any device.
        rows: (M,) the row of each match.
        places: (M,) how many of the images win a tie against it.
        limits: (M,) distance of the match, on the same device.
        counts: (2, M) added to in place, on the CPU.
    """
    index = torch.arange(distances.shape[1], device=distances.device)
    step = max(1, COMPARED_ELEMENTS // max(1, distances.shape[1]))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        values, limit = distances[_on(rows[part], distances)], limits[part, None]
        closer, equal = values < limit, values == limit
        wins = index < _on(places[part], distances)[:, None]
        before = closer.sum(dim=1) + (equal & wins).sum(dim=1)
        counts[0, part] += before.cpu().numpy()
        counts[1, part] += (before + (equal & ~wins).sum(dim=1)).cpu().numpy()


def _on(index: Ints, like: Tensor) -> Tensor:
    return torch.from_numpy(index).to(like.device)
