"""The inner loops that numba compiles. Import this module only where numba is wanted: the import takes a second.

The code is compiled at the first call and kept on disk beside this file, or in the user's cache folder.
"""

from __future__ import annotations

import threading
from typing import Any

import numba
import numpy as np

# numba's simplest threading layer aborts the process when two threads start parallel loops at once.
LOCK = threading.Lock()

# Columns handled at a time: 16 kB of float32 stay in the first-level cache while every match is counted.
BLOCK = 4096


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


def _count_less(values: Any, limit: Any) -> Any:
    count = np.int32(0)
    for j in range(len(values)):
        count = np.int32(count + np.int32(values[j] < limit))
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
count_less = _compile(_count_less)
count_both = _compile(_count_both)


def _count_closer_kernel(
    distances: Any,
    usable: Any,
    offsets: Any,
    columns: Any,
    same_offsets: Any,
    same_columns: Any,
    before: Any,
    not_after: Any,
) -> Any:
    num_queries, num_gallery = distances.shape
    num_nan = 0
    for q in numba.prange(num_queries):
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
            for m in range(offsets[q], offsets[q + 1]):
                own = distances[q, columns[m]]
                less, at_most = count_both(others, own)
                not_after[m] += at_most
                place = columns[m] - first
                if place < 0:
                    before[m] += less
                elif place >= size:
                    before[m] += at_most
                else:
                    before[m] += count_both(others[:place], own)[1] + count_less(others[place:], own)
    return num_nan


count_closer_kernel = _compile(_count_closer_kernel, parallel=True)
