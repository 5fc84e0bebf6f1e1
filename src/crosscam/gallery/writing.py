"""What changes a gallery's folder: add, update, forget, compact.

The order of the steps is what makes them safe against a crash at any instant. Adding writes and flushes the files first
and commits last: what is not committed is cut off by the next writer. Forgetting commits first, together with a list of
what to wipe, and wipes then: what is not wiped yet is wiped by the next writer before anything else.
"""

from __future__ import annotations

import time as clock
import zlib
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from crosscam.data.labels import whole_number
from crosscam.errors import ArgumentError, GalleryError
from crosscam.gallery.inverted import INDEX
from crosscam.gallery.records import NewEntry, Where
from crosscam.gallery.rows import Rows, widen
from crosscam.gallery.store import Store

_INSERT = (
    "INSERT INTO entries(segment, row, camid, pid, time, track, added, path, thumb_at, thumb_size, row_crc, thumb_crc) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
CHANGEABLE = ("path", "pid", "camid", "time")
ROWS_AT_ONCE = 4096
# A centre this close to a forgotten descriptor may be that descriptor.
NEAR_CENTRE = 1e-3


def add(store: Store, descriptors: Rows, entries: Sequence[NewEntry], thumbnails: Sequence[bytes | None]) -> list[int]:
    """See :meth:`crosscam.gallery.Gallery.add`; the arguments are checked."""
    rows = widen(descriptors, store.layout)
    ids: list[int] = []
    now = clock.time()
    with store.lock, store.database.transaction() as connection:
        (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        codes = store.database.track_codes([entry.track for entry in entries])
        for number, at_row, at_byte, part in _room(store, len(entries)):
            thumbs = thumbnails[part]
            places = list(accumulate((len(t or b"") for t in thumbs), initial=at_byte))
            store.files.append(number, at_row, rows[part], at_byte, b"".join(t or b"" for t in thumbs))
            records = [
                (
                    number,
                    at_row + i,
                    int(e.camid),
                    None if e.pid is None else int(e.pid),
                    None if e.time is None else float(e.time),
                    code,
                    now,
                    e.path,
                    None if thumb is None else place,
                    None if thumb is None else len(thumb),
                    zlib.crc32(row),
                    None if thumb is None else zlib.crc32(thumb),
                )
                for i, (e, code, row, thumb, place) in enumerate(
                    zip(entries[part], codes[part], rows[part], thumbs, places[:-1], strict=True)
                )
            ]
            connection.executemany(_INSERT, records)
            counts = (number, at_row + len(records), places[-1])
            connection.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", counts)
        ids = list(range(last + 1, last + 1 + len(entries)))
    store.changed()
    return ids


def update(store: Store, ids: Sequence[int], changes: dict[str, object]) -> int:
    """See :meth:`crosscam.gallery.Gallery.update`."""
    with store.lock:
        store.slots(ids)
        with store.database.transaction() as connection:
            columns = {name: value for name, value in changes.items() if name in CHANGEABLE}
            for name in {"pid", "camid"} & columns.keys():
                # A whole float is a whole number, here and in the database.
                columns[name] = None if columns[name] is None else int(columns[name])  # type: ignore[call-overload]
            if "track" in changes:
                track = changes["track"]
                columns["track"] = store.database.track_codes([None if track is None else str(track)])[0]
            setting = ", ".join(f"{name} = ?" for name in columns)
            connection.executemany(f"UPDATE entries SET {setting} WHERE id = ?", [(*columns.values(), i) for i in ids])
            store.database.drop_unused_tracks()
            store.database.bump_generation()
        store.changed()
    return len(set(ids))


def forget(store: Store, where: Where) -> int:
    """See :meth:`crosscam.gallery.Gallery.forget`."""
    with store.lock:
        snapshot = store.snapshot()
        ids = snapshot.ids(where)
        if not len(ids):
            return 0
        keys = [(int(i),) for i in ids]
        lists = store.lists()
        spoiled = lists is not None and _near_a_centre(store, ids, lists.centres)
        with store.database.transaction() as connection:
            connection.executemany(
                "INSERT INTO wipes SELECT segment, row, thumb_at, thumb_size FROM entries WHERE id = ?", keys
            )
            connection.executemany("DELETE FROM entries WHERE id = ?", keys)
            store.database.drop_unused_tracks()
            store.database.bump_generation()
        store.changed()
        if spoiled:
            (store.folder / INDEX).unlink()
        store.wipe()
    return len(ids)


def compact(store: Store) -> int:
    """See :meth:`crosscam.gallery.Gallery.compact`."""
    with store.lock:
        counted = store.database.segments()
        holding = dict(store.database.connection.execute("SELECT segment, count(*) FROM entries GROUP BY segment"))
        old = [number for number, (rows, _) in counted.items() if holding.get(number, 0) < rows]
        before = size_on_disk(store)
        if old:
            new = max(counted) + 1
            try:
                _move(store, old, new)
            except BaseException as error:
                # What was copied must not lie about: it may hold somebody who is forgotten next.
                store.files.remove(range(new, new + len(old)))
                if isinstance(error, OSError):
                    raise GalleryError(f"{store.folder} cannot be compacted: {error}. Nothing was changed.") from error
                raise
            store.files.remove(old)
        # Names that were moved about within the database's pages go with the pages.
        store.database.connection.execute("VACUUM")
        store.wipe()
        return before - size_on_disk(store)


def size_on_disk(store: Store) -> int:
    """Bytes of all files of the gallery."""
    found = 0
    for file in store.folder.rglob("*"):
        try:
            found += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # the log comes and goes
            continue
    return found


def _room(store: Store, count: int) -> list[tuple[int, int, int, slice]]:
    """Segment, its next row and thumbnail byte, and which of ``count`` new entries go there."""
    counted = store.database.segments()
    number = max(counted, default=0)
    row, byte = counted.get(number, (store.segment_rows, 0))
    room, first = [], 0
    while first < count:
        if row >= store.segment_rows:
            number, row, byte = number + 1, 0, 0
        last = min(count, first + store.segment_rows - row)
        room.append((number, row, byte, slice(first, last)))
        first, row = last, store.segment_rows
    return room


def _move(store: Store, old: Sequence[int], first: int) -> None:
    """Copy the entries of the old segments into new ones, and let the database change over at once."""
    marks = ",".join("?" * len(old))
    connection = store.database.connection
    found = connection.execute(
        f"SELECT id, segment, row, thumb_at, thumb_size FROM entries WHERE segment IN ({marks}) ORDER BY id", list(old)
    ).fetchall()
    mapped = {number: store.files.map(number, store.database.segments()[number][0]) for number in old}
    moves: list[tuple[int, int, int | None, int]] = []
    counts: list[tuple[int, int, int]] = []
    for start in range(0, len(found), store.segment_rows):
        number, at_byte = first + start // store.segment_rows, 0
        mine = found[start : start + store.segment_rows]
        for at_row in range(0, len(mine), ROWS_AT_ONCE):
            some = mine[at_row : at_row + ROWS_AT_ONCE]
            rows = np.stack([mapped[segment][row] for _, segment, row, _, _ in some])
            thumbs = [b"" if not size else store.files.thumbnail(s, at, size) for _, s, _, at, size in some]
            places = list(accumulate(map(len, thumbs), initial=at_byte))
            store.files.append(number, at_row, rows, at_byte, b"".join(thumbs))
            moves += [
                (number, at_row + i, None if at is None else places[i], id_)
                for i, (id_, _, _, at, _) in enumerate(some)
            ]
            at_byte = places[-1]
        counts.append((number, len(mine), at_byte))
    with store.database.transaction():
        connection.executemany("UPDATE entries SET segment = ?, row = ?, thumb_at = ? WHERE id = ?", moves)
        connection.execute(f"DELETE FROM segments WHERE number IN ({marks})", list(old))
        connection.execute(f"DELETE FROM wipes WHERE segment IN ({marks})", list(old))
        connection.executemany("INSERT INTO segments VALUES (?, ?, ?)", counts)
        store.database.bump_generation()
    store.changed()


def _near_a_centre(store: Store, ids: NDArray[np.int64], centres: Rows) -> bool:
    """Whether a forgotten descriptor may be readable as a centre of the index."""
    snapshot = store.snapshot()
    for start in range(0, len(ids), ROWS_AT_ONCE):
        rows = snapshot.rows(snapshot.places(ids[start : start + ROWS_AT_ONCE]))[:, : centres.shape[1]]
        if (rows @ centres.T).max() > 1 - NEAR_CENTRE:
            return True
    return False


def refuse_new(entries: Sequence[NewEntry], thumbnails: Sequence[bytes | None], count: int) -> None:
    """Refuse entries that cannot be kept.

    Raises:
        ValueError: counts that differ, or a value of another kind.
    """
    if len(entries) != count or len(thumbnails) != count:
        raise ArgumentError(
            f"Expected an entry and a thumbnail for each of {count} rows, found {len(entries)} and {len(thumbnails)}."
        )
    for place, entry in enumerate(entries):
        if not isinstance(entry.path, str) or "\0" in entry.path:
            raise ArgumentError(f"Entry {place} has the path {entry.path!r}. Expected a text.")
        for name, value in (("camid", entry.camid), ("pid", entry.pid)):
            if value is not None or name == "camid":
                try:
                    whole_number(value, name)
                except ValueError as error:
                    raise ArgumentError(
                        f"Entry {place} has {name} {value!r}. Expected a whole number of at most 63 bits and a sign."
                    ) from error
        if entry.time is not None and not np.isfinite(entry.time):
            raise ArgumentError(f"Entry {place} has the time {entry.time}. Expected seconds, or None.")
