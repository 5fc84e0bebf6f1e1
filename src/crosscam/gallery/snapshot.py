"""A gallery at one instant, in memory: what filters and scans need of each entry, and the mapped descriptors."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crosscam.gallery.database import Database
from crosscam.gallery.database_file import readable
from crosscam.gallery.entries import Where
from crosscam.gallery.scan import Chunk, Keys
from crosscam.gallery.segments import Rows, SegmentFiles, Sums, row_sums, segment_sum

NONE = np.iinfo(np.int64).min
"""Stands for a missing pid or track in the columns."""

# Below this share of a segment, its rows are picked out one by one instead of all being compared.
PICKED_SHARE = 0.25
# Rows that are copied at a time: they stay in the cache until they are compared, twice as fast as all at once.
PICKED_AT_ONCE = 256

COLUMNS = np.dtype(
    [
        ("id", np.int64),
        ("segment", np.int64),
        ("row", np.int64),
        ("camid", np.int64),
        ("pid", np.int64),
        ("track", np.int64),
        ("time", np.float64),
        ("added", np.float64),
    ]
)
_SELECT = (
    f"SELECT id, segment, row, camid, ifnull(pid, {NONE}), ifnull(track, {NONE}), ifnull(time, 9e999), added "
    "FROM entries"
)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One state of a gallery. Immutable, so threads may share it.

    Attributes:
        version: number that no other snapshot of this object's life has.
        generation: of the database; a later one means that entries of this snapshot may be gone.
        columns: (N,) records, by segment and row. A missing time is infinite.
        segments: number to its mapped rows.
        starts: number to the range of its entries in ``columns``.
        tracks: code of each track by its name.
        by_id: (N,) places in ``columns`` by rising id.
        sums: number to what the rows of its entries add up to; None in galleries of earlier versions.
    """

    version: int
    generation: int
    columns: NDArray[np.void]
    segments: dict[int, Rows]
    starts: dict[int, tuple[int, int]]
    tracks: dict[str, int]
    by_id: Keys
    sums: dict[int, int | None]

    def __len__(self) -> int:
        return len(self.columns)

    def chosen(self, where: Where) -> NDArray[np.bool_]:
        """(N,) which entries fulfil the conditions."""
        kept = np.ones(len(self), bool)
        codes = {
            "tracks": _codes(self.tracks, where.tracks),
            "not_tracks": _codes(self.tracks, where.not_tracks),
        }
        for column, name in (("id", "ids"), ("pid", "pids"), ("camid", "camids"), ("track", "tracks")):
            values = self.columns[column]
            only = codes["tracks"] if name == "tracks" else getattr(where, name)
            without = codes["not_tracks"] if name == "tracks" else getattr(where, f"not_{name}")
            if only is not None:
                kept &= np.isin(values, np.asarray(only, np.int64)) & (values != NONE)
            if without is not None:
                kept &= ~np.isin(values, np.asarray(without, np.int64))
        times = self.columns["time"]
        if where.time_from is not None:
            kept &= np.isfinite(times) & (times >= where.time_from)
        if where.time_to is not None:
            kept &= np.isfinite(times) & (times <= where.time_to)
        if where.added_before is not None:
            kept &= self.columns["added"] < where.added_before
        return kept

    def ids(self, where: Where) -> Keys:
        """Ids of the chosen entries, rising."""
        ids: Keys = np.sort(self.columns["id"][self.chosen(where)])
        return ids

    def places(self, ids: Keys) -> Keys:
        """Places in ``columns`` of ids that are all there."""
        found: Keys = self.by_id[np.searchsorted(self.columns["id"][self.by_id], ids)]
        return found

    def chunks(self, chosen: NDArray[np.bool_]) -> Iterator[Chunk]:
        """Places and rows of the chosen entries, a segment at a time."""
        for number, (first, last) in self.starts.items():
            rows = self.segments[number]
            picked = np.flatnonzero(chosen[first:last])
            if not len(picked):
                continue
            if len(picked) == len(rows):
                yield first + picked, partial(_all_of, rows)
            elif len(picked) < PICKED_SHARE * len(rows):
                yield first + picked, partial(_some_of, rows, self.columns["row"][first + picked])
            else:
                yield from self._halves(first + picked, rows)

    def pieces(self, places: Keys) -> Iterator[Rows]:
        """The rows of some entries, some at a time."""
        for first in range(0, len(places), PICKED_AT_ONCE):
            yield self.rows(places[first : first + PICKED_AT_ONCE])

    def rows(self, places: Keys) -> Rows:
        """(n, D + L) rows of some entries."""
        width = next(iter(self.segments.values())).shape[1] if self.segments else 0
        result = np.empty((len(places), width), np.float32)
        numbers = self.columns["segment"][places]
        for number in np.unique(numbers):
            mine = np.flatnonzero(numbers == number)
            result[mine] = self.segments[int(number)][self.columns["row"][places[mine]]]
        return result

    def _halves(self, places: Keys, rows: Rows) -> Iterator[Chunk]:
        """Stretches of consecutive rows without copying, single ones by copying."""
        numbers = self.columns["row"][places]
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        if len(breaks) > len(numbers) // 64:
            yield places, partial(_some_of, rows, numbers)
            return
        for part, run in zip(np.split(places, breaks), np.split(numbers, breaks), strict=True):
            yield part, partial(_all_of, rows[run[0] : run[-1] + 1])


def _all_of(rows: Rows) -> Iterator[Rows]:
    yield rows


def _some_of(rows: Rows, numbers: Keys) -> Iterator[Rows]:
    for first in range(0, len(numbers), PICKED_AT_ONCE):
        yield rows[numbers[first : first + PICKED_AT_ONCE]]


def load(database: Database, files: SegmentFiles, version: int) -> Snapshot:
    """Read everything.

    Raises:
        FileNotFoundError: a writer compacted meanwhile; load again.
    """
    connection = database.connection
    connection.execute("BEGIN")
    try:
        generation = int(database.meta("generation"))
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
        with readable("an entry"):
            columns = np.fromiter(connection.execute(_SELECT), COLUMNS, count)
        return _assemble(version, generation, columns, database, files, {})
    finally:
        _end(connection)


def extend(old: Snapshot, database: Database, files: SegmentFiles, version: int) -> Snapshot:
    """The same with what was added since, or everything anew where entries were changed."""
    connection = database.connection
    connection.execute("BEGIN")
    try:
        if int(database.meta("generation")) == old.generation:
            last = int(old.columns["id"].max(initial=0))
            with readable("an entry"):
                new = np.fromiter(connection.execute(f"{_SELECT} WHERE id > ?", (last,)), COLUMNS)
            columns = np.concatenate([old.columns, new]) if len(new) else old.columns
            return _assemble(version, old.generation, columns, database, files, old.segments)
    finally:
        _end(connection)
    return load(database, files, version)


def _assemble(
    version: int,
    generation: int,
    columns: NDArray[np.void],
    database: Database,
    files: SegmentFiles,
    mapped: dict[int, Rows],
) -> Snapshot:
    order = np.lexsort((columns["row"], columns["segment"]))
    if (np.diff(order) != 1).any():
        columns = columns[order]
    counted = database.segments()
    edges = np.searchsorted(columns["segment"], [*counted, np.iinfo(np.int64).max])
    starts = {number: (int(edges[i]), int(edges[i + 1])) for i, number in enumerate(counted)}
    if not _within(columns, counted, starts):
        raise sqlite3.DatabaseError("entries lie outside of the counted segments")
    segments = {
        number: mapped[number] if number in mapped and len(mapped[number]) == rows else files.map(number, rows)
        for number, (rows, _) in counted.items()
    }
    by_id = np.argsort(columns["id"], kind="stable")
    return Snapshot(version, generation, columns, segments, starts, database.track_names(), by_id, database.sums())


def _within(columns: NDArray[np.void], counted: dict[int, tuple[int, int]], starts: dict[int, tuple[int, int]]) -> bool:
    """Whether every entry has a row that is counted, and none the row of another."""
    if sum(last - first for first, last in starts.values()) != len(columns):
        return False
    for number, (first, last) in starts.items():
        rows = columns["row"][first:last]
        if len(rows) and (rows[0] < 0 or rows[-1] >= counted[number][0] or (np.diff(rows) == 0).any()):
            return False
        if len(rows) and (columns["segment"][first] != number or columns["segment"][last - 1] != number):
            return False
    return True


def _codes(known: dict[str, int], names: tuple[str, ...] | None) -> list[int] | None:
    return None if names is None else [known[name] for name in names if name in known]


def _end(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


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
