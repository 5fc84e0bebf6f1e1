"""The inner loops that numba compiles. Import this module only where numba is wanted: the import takes a second.

The code is compiled at the first call and kept on disk beside this file, or in the user's cache folder.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import torch

# numba's simplest threading layer aborts the process when two threads start parallel loops at once.
_LOCK = threading.Lock()

# Columns handled at a time: 16 kB of float32 stay in the first-level cache while every match is counted.
BLOCK = 4096


@contextmanager
def compiled_loops() -> Iterator[None]:
    """Parallel loops within the block run on as many threads as torch does, one caller at a time.

    numba's OpenMP pool sets the number of threads of the whole process when it starts; torch's is put back.
    """
    threads = torch.get_num_threads()
    with _LOCK:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _compile(function: Any, *, parallel: bool = False) -> Any:
    try:
        return numba.njit(function, parallel=parallel, nogil=True, cache=True)
    except RuntimeError:  # no folder can be written to: compile without keeping the result
        return numba.njit(function, parallel=parallel, nogil=True)


# The counters below are 32-bit and the loops run over an index: only so does the compiler use vector instructions.


def _copy_usable(source: Any, usable: Any, target: Any) -> Any:
    num_nan = np.int32(0)
    for j in range(len(source)):
        value = source[j]
        num_nan = np.int32(num_nan + np.int32(value != value))
        target[j] = value if usable[j] else np.nan
    return num_nan


def _count_at_most(values: Any, limit: Any) -> Any:
    count = np.int32(0)
    for j in range(len(values)):
        count = np.int32(count + np.int32(values[j] <= limit))
    return count


def _count_both(values: Any, limit: Any) -> Any:
    less = np.int32(0)
    at_most = np.int32(0)
    for j in range(len(values)):
        value = values[j]
        less = np.int32(less + np.int32(value < limit))
        at_most = np.int32(at_most + np.int32(value <= limit))
    return less, at_most


copy_usable = _compile(_copy_usable)
count_at_most = _compile(_count_at_most)
count_both = _compile(_count_both)


def _add_places(values: Any, limit: Any, place: Any, counts: Any) -> Any:
    """Add to a match's (2,) counts, before and not after, its place among values whose index ``place`` is its own."""
    if place >= len(values):  # a tie with any of these comes before the match
        at_most = count_at_most(values, limit)
        counts[0] += at_most
        counts[1] += at_most
    elif place <= 0:  # none does
        less, at_most = count_both(values, limit)
        counts[0] += less
        counts[1] += at_most
    else:
        earlier = count_at_most(values[:place], limit)
        less, at_most = count_both(values[place:], limit)
        counts[0] += earlier + less
        counts[1] += earlier + at_most


add_places = _compile(_add_places)


def _count_closer_kernel(
    distances: Any,
    usable: Any,
    offsets: Any,
    columns: Any,
    same_offsets: Any,
    same_columns: Any,
    counts: Any,
) -> Any:
    num_queries, num_gallery = distances.shape
    num_nan = 0
    for q in numba.prange(num_queries):
        start, stop = offsets[q], offsets[q + 1]
        block = np.empty(BLOCK, distances.dtype)
        same = same_offsets[q]
        for first in range(0, num_gallery, BLOCK):
            size = min(BLOCK, num_gallery - first)
            others = block[:size]
            num_nan += copy_usable(distances[q, first : first + size], usable[first : first + size], others)
            # NaN is neither less than nor equal to anything: it takes an image out of every count.
            while same < same_offsets[q + 1] and same_columns[same] < first + size:
                others[same_columns[same] - first] = np.nan
                same += 1
            for m in range(start, stop):
                add_places(others, distances[q, columns[m]], columns[m] - first, counts[:2, m])
        matches = np.empty(stop - start, distances.dtype)
        for m in range(start, stop):
            matches[m - start] = distances[q, columns[m]]
        for m in range(start, stop):
            add_places(matches, matches[m - start], m - start, counts[2:, m])
    return num_nan


count_closer_kernel = _compile(_count_closer_kernel, parallel=True)


def _count_nan(values: Any) -> Any:
    count = np.int32(0)
    for j in range(len(values)):
        count = np.int32(count + np.int32(values[j] != values[j]))
    return count


count_nan = _compile(_count_nan)


def _add_strangers_kernel(distances: Any, offsets: Any, places: Any, limits: Any, counts: Any) -> Any:
    num_queries, num_gallery = distances.shape
    num_nan = 0
    for q in numba.prange(num_queries):
        for first in range(0, num_gallery, BLOCK):
            values = distances[q, first : min(first + BLOCK, num_gallery)]
            num_nan += count_nan(values)
            for m in range(offsets[q], offsets[q + 1]):
                add_places(values, limits[m], places[m] - first, counts[:, m])
    return num_nan


add_strangers_kernel = _compile(_add_strangers_kernel, parallel=True)


def _to_distances_kernel(products: Any, q_square: Any, g_square: Any, share: Any, squared: bool, close: Any) -> None:
    for i in numba.prange(len(products)):
        row, own = products[i], q_square[i]
        found = np.int32(0)
        for j in range(len(row)):
            lengths = own + g_square[j]
            square = lengths - np.float32(2) * row[j]
            found = np.int32(found + np.int32(square < share * lengths))
            square = max(square, np.float32(0))
            row[j] = square if squared else np.sqrt(square)
        close[i] = found


to_distances_kernel = _compile(_to_distances_kernel, parallel=True)
