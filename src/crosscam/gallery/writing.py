"""What changes a gallery's folder: add, update, forget, compact.

The order of the steps is what makes them safe against a crash at any instant. Adding writes and flushes the files first
and commits last: what is not committed is cut off by the next writer. Forgetting commits first, together with a list of
what to wipe, and wipes then: what is not wiped yet is wiped by the next writer before anything else.
"""

from __future__ import annotations

import json
import time as clock
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np

from crosscam.errors import ArgumentError, GalleryError
from crosscam.gallery import camera_names
from crosscam.gallery.database import Slot
from crosscam.gallery.entries import NewEntry, Where
from crosscam.gallery.segments import Rows, entry_crc, row_sums, segment_sum, signed, widen
from crosscam.gallery.store import Store

_INSERT = (
    "INSERT INTO entries(id, segment, row, camid, pid, time, track, added, path, thumb_at, thumb_size, row_crc, "
    "thumb_crc, entry_crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
NO_SEGMENT = -1
REPLACED = {"path", "track"}
CHANGEABLE = ("path", "pid", "camid", "time")
ROWS_AT_ONCE = 4096


def add(store: Store, descriptors: Rows, entries: Sequence[NewEntry], thumbnails: Sequence[bytes | None]) -> list[int]:
    """See :meth:`crosscam.gallery.Gallery.add`; the arguments are checked."""
    rows = widen(descriptors, store.layout)
    now = clock.time()
    with store.turn(), store.database.transaction() as connection:
        (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        ids = list(range(last + 1, last + 1 + len(entries)))
        named = store.database.camera_names()
        names = camera_names.with_new(named, entries)
        if names != named:
            store.database.put_camera_names(names)
        sums = store.database.sums()
        codes = store.database.track_codes([entry.track for entry in entries])
        for number, at_row, at_byte, part in _room(store, len(entries)):
            thumbs = thumbnails[part]
            places = list(accumulate((len(t or b"") for t in thumbs), initial=at_byte))
            store.files.append(number, at_row, rows[part], at_byte, b"".join(t or b"" for t in thumbs))
            records = [
                _record(id_, e, now, (number, at_row + i, place, code), row, thumb)
                for i, (id_, e, code, row, thumb, place) in enumerate(
                    zip(ids[part], entries[part], codes[part], rows[part], thumbs, places[:-1], strict=True)
                )
            ]
            connection.executemany(_INSERT, records)
            before = sums.get(number, 0)
            added = segment_sum(row_sums(rows[part]), np.arange(at_row, at_row + len(records)))
            total = None if before is None else signed(before + added)
            counts = (number, at_row + len(records), places[-1], total)
            connection.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", counts)
    store.changed()
    return ids


def _record(
    id_: int, entry: NewEntry, now: float, lies: tuple[int, int, int, int | None], row: Rows, thumb: bytes | None
) -> tuple[object, ...]:
    """What the database keeps of an entry; ``lies`` is its segment, row, the place of its thumbnail, and its track."""
    segment, number, place, code = lies
    camid, pid = int(entry.camid), None if entry.pid is None else int(entry.pid)
    time = None if entry.time is None else float(entry.time)
    crc = zlib.crc32(row.tobytes())
    at, size, thumb_crc = (None, None, None) if thumb is None else (place, len(thumb), zlib.crc32(thumb))
    check = entry_crc((id_, entry.path, camid, pid, time, entry.track, now, crc, size, thumb_crc))
    return id_, segment, number, camid, pid, time, code, now, entry.path, at, size, crc, thumb_crc, check


def update(store: Store, ids: Sequence[int], changes: dict[str, object]) -> int:
    """See :meth:`crosscam.gallery.Gallery.update`."""
    with store.turn():
        store.slots(ids)
        # A name that is taken back is as good as forgotten.
        names = bool(REPLACED & changes.keys())
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
            store.database.check_entries(sorted(set(ids)))
            store.database.drop_unused_tracks()
            names |= store.database.drop_unused_cameras()
            store.database.bump_generation()
            if names:
                # Of no segment: after a kill the next writer sees that names are left to be wiped, and nothing else.
                connection.execute("INSERT INTO wipes VALUES (?, 0, NULL, NULL)", (NO_SEGMENT,))
        store.changed()
        if names:
            store.wipe()
    return len(set(ids))


def forget(store: Store, where: Where) -> int:
    """See :meth:`crosscam.gallery.Gallery.forget`."""
    with store.turn():
        ids = [int(i) for i in store.snapshot().ids(where)]
        if not ids:
            return 0
        keys = [(i,) for i in ids]
        with store.database.transaction() as connection:
            connection.executemany(
                "INSERT INTO wipes SELECT segment, row, thumb_at, thumb_size FROM entries WHERE id = ?", keys
            )
            _take_from_sums(store, list(store.database.slots(ids).values()))
            connection.executemany("DELETE FROM entries WHERE id = ?", keys)
            store.database.drop_unused_tracks()
            store.database.drop_unused_cameras()
            store.database.drop_feedback()
            store.database.bump_generation()
        store.changed()
        store.wipe()
    return len(ids)


def name_cameras(store: Store, new: Mapping[int, str | None]) -> None:
    """See :meth:`crosscam.gallery.Gallery.name_cameras`."""
    with store.turn():
        known = set(store.snapshot().columns["camid"].tolist())
        unknown = [camid for camid in new if camid not in known]
        if unknown:
            raise ArgumentError(f"{store.folder} has no entries of camera {unknown[0]}, so that it cannot be named.")
        before = store.database.camera_names()
        after = camera_names.renamed(before, new.items())
        replaced = any(after.get(camid) != name for camid, name in before.items())
        with store.database.transaction() as connection:
            store.database.put_camera_names(after)
            if replaced:
                connection.execute("INSERT INTO wipes VALUES (?, 0, NULL, NULL)", (NO_SEGMENT,))
        store.changed()
        if replaced:
            store.wipe()


def set_document(store: Store, name: str, value: object) -> None:
    """See :meth:`crosscam.gallery.Gallery.set_document`."""
    text = json.dumps(value)
    with store.turn(), store.database.transaction():
        store.database.put_document(name, json.loads(text))


def _take_from_sums(store: Store, slots: Sequence[Slot]) -> None:
    """Within a transaction: the sums of segments without these entries; none where a row is not what was added."""
    sums, counted = store.database.sums(), store.database.segments()
    for number in sorted({slot[1] for slot in slots}):
        before = sums[number]
        mine = sorted((slot[2], slot[5]) for slot in slots if slot[1] == number)
        if before is None:
            continue
        numbers = np.array([row for row, _ in mine], np.int64)
        rows = store.files.map(number, counted[number][0])[numbers]
        whole = all(zlib.crc32(row) == crc for row, (_, crc) in zip(rows, mine, strict=True))
        left = signed(before - segment_sum(row_sums(rows), numbers)) if whole else None
        store.database.connection.execute("UPDATE segments SET row_sum = ? WHERE number = ?", (left, number))


def compact(store: Store) -> int:
    """See :meth:`crosscam.gallery.Gallery.compact`."""
    with store.turn():
        store.snapshot()  # refuses entries that lie nowhere
        counted = store.database.segments()
        holding = dict(store.database.connection.execute("SELECT segment, count(*) FROM entries GROUP BY segment"))
        old = [number for number, (rows, _) in counted.items() if holding.get(number, 0) < rows]
        before = size_on_disk(store)
        if old:
            new = max(counted) + 1
            try:
                _move(store, old, new)
            except BaseException as error:
                # What was copied must not lie about: it may hold somebody who is forgotten next. But a commit that
                # failed may be in the log all the same, where it would count after a crash, until another comes.
                store.settle()
                store.files.remove(range(new, new + len(old)))
                if isinstance(error, OSError):
                    raise GalleryError(f"{store.folder} cannot be compacted: {error}. Nothing was changed.") from error
                raise
            for file, size in store.files.sizes(store.database.segments()).items():
                store.files.check_length(file, size)
            store.files.remove(old)
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
        "SELECT id, segment, row, thumb_at, thumb_size, row_crc, thumb_crc FROM entries "
        f"WHERE segment IN ({marks}) ORDER BY id",
        list(old),
    ).fetchall()
    mapped = {number: store.files.map(number, store.database.segments()[number][0]) for number in old}
    moves: list[tuple[int, int, int | None, int]] = []
    counts: list[tuple[int, int, int, int]] = []
    for start in range(0, len(found), store.segment_rows):
        number, at_byte, total = first + start // store.segment_rows, 0, 0
        mine = found[start : start + store.segment_rows]
        for at_row in range(0, len(mine), ROWS_AT_ONCE):
            some = mine[at_row : at_row + ROWS_AT_ONCE]
            rows = np.stack([mapped[slot[1]][slot[2]] for slot in some])
            thumbs = [b"" if not slot[4] else store.files.thumbnail(slot[1], slot[3], slot[4]) for slot in some]
            for slot, row, thumb in zip(some, rows, thumbs, strict=True):
                _refuse_damaged(store, slot, row, thumb)
            places = list(accumulate(map(len, thumbs), initial=at_byte))
            store.files.append(number, at_row, rows, at_byte, b"".join(thumbs))
            moves += [
                (number, at_row + i, None if at is None else places[i], id_)
                for i, (id_, _, _, at, *_) in enumerate(some)
            ]
            at_byte = places[-1]
            total += segment_sum(row_sums(rows), np.arange(at_row, at_row + len(rows)))
        counts.append((number, len(mine), at_byte, signed(total)))
    with store.database.transaction():
        connection.executemany("UPDATE entries SET segment = ?, row = ?, thumb_at = ? WHERE id = ?", moves)
        connection.execute(f"DELETE FROM segments WHERE number IN ({marks})", list(old))
        connection.execute(f"DELETE FROM wipes WHERE segment IN ({marks})", list(old))
        connection.executemany("INSERT INTO segments VALUES (?, ?, ?, ?)", counts)
        store.database.bump_generation()
    store.changed()


def _refuse_damaged(store: Store, slot: Slot, row: Rows, thumb: bytes) -> None:
    """Refuse to copy what is not what was added: the copy's checksums would vouch for it."""
    if zlib.crc32(row.tobytes()) != slot[5] or (slot[3] is not None and zlib.crc32(thumb) != slot[6]):
        raise GalleryError(
            f"{store.folder} cannot be compacted: entry {slot[0]} is damaged (checksum). Nothing was changed. "
            "Forget the entry and add it again, or restore the gallery from a backup."
        )
