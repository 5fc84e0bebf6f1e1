"""Reading everything in a gallery's folder and comparing it with its checksums."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from crosscam.errors import GalleryError
from crosscam.gallery.database import Slot
from crosscam.gallery.records import Verified
from crosscam.gallery.rows import LENGTH_TOLERANCE, Rows
from crosscam.gallery.store import Store

SHOWN = 20


def verify(store: Store) -> Verified:
    """See :meth:`crosscam.gallery.Gallery.verify`."""
    with store.lock:
        store.must_be_open()
        problems = [
            f"The database is damaged: {row[0]}."
            for row in store.database.connection.execute("PRAGMA integrity_check")
            if row[0] != "ok"
        ]
        slots = list(
            store.database.connection.execute(
                "SELECT id, segment, row, thumb_at, thumb_size, row_crc, thumb_crc FROM entries ORDER BY segment, row"
            )
        )
        counted = store.database.segments()
        problems += [
            f"{segment[0]}: entries lie in a segment that is not counted."
            for segment in store.database.connection.execute(
                "SELECT DISTINCT segment FROM entries WHERE segment NOT IN (SELECT number FROM segments)"
            )
        ]
        for number, (rows, _) in counted.items():
            mine = [slot for slot in slots if slot[1] == number] if len(counted) > 1 else slots
            problems += _segment(store, number, rows, mine)
    problems += _index(store)
    left_out = len(problems) - SHOWN
    shown = problems[:SHOWN] + ([f"And {left_out:,} more."] if left_out > 0 else [])
    return Verified(len(slots), tuple(shown))


def _segment(store: Store, number: int, rows: int, slots: list[Slot]) -> Iterator[str]:
    try:
        mapped = store.files.map(number, rows)
    except (GalleryError, FileNotFoundError) as error:
        yield str(error)
        return
    places = [slot[2] for slot in slots]
    if len(set(places)) < len(places) or (places and max(places) >= rows):
        yield f"Segment {number}: two entries share a row, or a row is not counted."
        return
    for slot in slots:
        yield from _entry(store, mapped, slot)
    wiped = np.setdiff1d(np.arange(rows), places)
    for row in wiped:
        if mapped[row].any():
            yield f"Segment {number}: row {row} is nobody's and not wiped. Open for writing, which wipes it."


def _entry(store: Store, mapped: Rows, slot: Slot) -> Iterator[str]:
    id_, number, row, at, size, row_crc, thumb_crc = slot
    kept = np.ascontiguousarray(mapped[row])
    length = float(np.linalg.norm(kept[: store.layout[-1].stop]))
    if zlib.crc32(kept.tobytes()) != row_crc:
        yield f"Entry {id_}: the descriptor is not what was added (checksum). Forget the entry and add it again."
    elif not abs(length - 1) <= 2 * LENGTH_TOLERANCE:
        yield f"Entry {id_}: the descriptor has length {length:.4g}, expected 1."
    if at is None or size is None:
        return
    try:
        sound = zlib.crc32(store.files.thumbnail(number, at, size)) == thumb_crc
    except (GalleryError, FileNotFoundError) as error:
        yield f"Entry {id_}: {error}"
        return
    if not sound:
        yield f"Entry {id_}: the thumbnail is not what was added (checksum)."


def _index(store: Store) -> Iterator[str]:
    try:
        store.lists()
    except GalleryError as error:
        yield str(error)
