"""Reading everything in a gallery's folder and comparing it with its checksums."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from crosscam.errors import GalleryError
from crosscam.gallery.checksums import entry_crc, row_sums, segment_sum, value_crc
from crosscam.gallery.database import CHECKED, FORMAT, Slot, about_crc
from crosscam.gallery.records import Verified
from crosscam.gallery.rows import LENGTH_TOLERANCE, Rows
from crosscam.gallery.store import Store
from crosscam.system.json_text import parse_json

SHOWN = 20


def verify(store: Store) -> Verified:
    """See :meth:`crosscam.gallery.Gallery.verify`."""
    store.must_be_open()
    problems: list[str] = []
    slots: list[Slot] = []
    try:
        with store.turn():
            problems += database_problems(store)
            slots = all_slots(store)
            for number, (rows, thumb_bytes) in store.database.segments().items():
                problems += _segment(store, number, rows, thumb_bytes, [slot for slot in slots if slot[1] == number])
    except Exception as error:  # whatever a damaged file makes of the code that reads it, it is the file's fault
        problems.append(f"Not everything could be read: {' '.join(str(error).split()) or type(error).__name__}")
    left_out = len(problems) - SHOWN
    shown = problems[:SHOWN] + ([f"And {left_out:,} more."] if left_out > 0 else [])
    return Verified(len(slots), tuple(shown))


def all_slots(store: Store) -> list[Slot]:
    """Where every entry lies, by segment and row."""
    query = "SELECT id, segment, row, thumb_at, thumb_size, row_crc, thumb_crc FROM entries ORDER BY segment, row"
    return list(store.database.connection.execute(query))


def database_problems(store: Store) -> Iterator[str]:
    """What is wrong with the database, and with the entries' own fields; take a turn at the database first."""
    connection = store.database.connection
    for (text,) in connection.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield f"The database is damaged: {' '.join(str(text).split())}."
    for (segment,) in connection.execute(
        "SELECT DISTINCT segment FROM entries WHERE segment NOT IN (SELECT number FROM segments)"
    ):
        yield f"{segment}: entries lie in a segment that is not counted."
    if int(store.database.meta("format")) < FORMAT:  # the next writer adds the checksums
        return
    texts = dict(connection.execute("SELECT key, value FROM meta"))
    if parse_json(texts.get("crc", "null")) != about_crc(texts):
        yield "The gallery's model, layout or segment size is not what it was made with (checksum)."
    for name, text, crc in connection.execute("SELECT name, value, crc FROM documents"):
        if value_crc(name, text) != crc:
            yield f"The document {name} is not what was kept (checksum)."
    for *fields, crc in connection.execute(
        f"SELECT {CHECKED}, entry_crc FROM entries LEFT JOIN tracks ON track = code"
    ):
        if entry_crc(tuple(fields)) != crc:
            yield (
                f"Entry {fields[0]}: its path, camera, identity, time, track or date of addition is not what was kept "
                "(checksum). Give it the right ones with 'crosscam gallery update', or forget it and add it again."
            )


def _segment(store: Store, number: int, rows: int, thumb_bytes: int, slots: list[Slot]) -> Iterator[str]:
    try:
        for file, size in store.files.sizes({number: (rows, thumb_bytes)}).items():
            store.files.check_length(file, size)
        mapped = store.files.map(number, rows).view(np.ndarray)
    except (GalleryError, OSError) as error:
        yield str(error)
        return
    places = [slot[2] for slot in slots]
    if len(set(places)) < len(places) or (places and (min(places) < 0 or max(places) >= rows)):
        yield f"Segment {number}: two entries share a row, or a row is not counted."
        return
    found = len(places)
    for slot in slots:
        faults = list(_entry(store, mapped, slot))
        found -= bool(faults)
        yield from faults
    numbers = np.array(places, np.int64)
    expected = store.database.sums()[number]
    if expected is not None and found == len(places) and segment_sum(row_sums(mapped[numbers]), numbers) != expected:
        yield f"Segment {number}: its entries are not those that were kept (checksum)."
    for row in np.setdiff1d(np.arange(rows), numbers):
        if mapped[row].any():
            yield f"Segment {number}: row {row} is nobody's and not wiped. Open for writing, which wipes it."


def _entry(store: Store, mapped: Rows, slot: Slot) -> Iterator[str]:
    id_, number, row, at, size, row_crc, thumb_crc = slot
    kept = np.ascontiguousarray(mapped[row])
    length = float(np.linalg.norm(kept[: store.layout[-1].stop].astype(np.float64)))
    if zlib.crc32(kept.tobytes()) != row_crc:
        yield f"Entry {id_}: the descriptor is not what was added (checksum). Forget the entry and add it again."
    elif not abs(length - 1) <= 2 * LENGTH_TOLERANCE:
        yield f"Entry {id_}: the descriptor has length {length:.4g}, expected 1."
    if at is None or size is None:
        return
    try:
        sound = zlib.crc32(store.files.thumbnail(number, at, size)) == thumb_crc
    except (GalleryError, OSError, ValueError) as error:
        yield f"Entry {id_}: {error}"
        return
    if not sound:
        yield f"Entry {id_}: the thumbnail is not what was added (checksum)."
