"""Whether what a search is about to compare is what was added."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from crosscam.gallery.checksums import Sums, row_sums, segment_sum
from crosscam.gallery.rows import Rows
from crosscam.gallery.scan import Keys
from crosscam.gallery.snapshot import Snapshot


class SegmentChecks:
    """Which segments of an open gallery were found as they were written; each row is read once for that."""

    def __init__(self) -> None:
        self._sums: dict[int, Sums] = {}
        self._passed: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def sound(self, snapshot: Snapshot, number: int, crcs: Callable[[int], Mapping[int, int]]) -> bool:
        """Whether the rows of a segment's entries are what was added.

        Args:
            snapshot: the state that is to be searched.
            number: of the segment.
            crcs: a segment's CRCs by row, for galleries of earlier versions, which have no sums.
        """
        first, last = snapshot.starts[number]
        live, rows, expected = snapshot.columns["row"][first:last], snapshot.segments[number], snapshot.sums[number]
        key = (snapshot.generation, len(rows))
        with self._lock:
            if self._passed.get(number) == key:
                return True
            if expected is None:
                found = crcs(number)
                good = all(zlib.crc32(rows[row]) == found.get(int(row)) for row in live)
            else:
                good = self._compare(number, rows, live, expected)
            if good:
                self._passed[number] = key
            return good

    def _compare(self, number: int, rows: Rows, live: Keys, expected: int) -> bool:
        known = self._sums.get(number, np.empty(0, np.uint64))
        if 0 < len(known) <= len(rows):
            known = np.concatenate([known, row_sums(rows[len(known) :])])
            if segment_sum(known[live], live) == expected:
                self._sums[number] = known
                return True
        # A number may be given again after a compaction, so that what is remembered may be of other rows.
        self._sums[number] = row_sums(rows)
        return segment_sum(self._sums[number][live], live) == expected
