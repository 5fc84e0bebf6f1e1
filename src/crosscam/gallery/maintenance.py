"""Upkeep of a gallery: read everything and compare it with its checksums; copy it as it stands."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

import numpy as np

from crosscam.errors import GalleryBusyError, GalleryError
from crosscam.gallery.database import CHECKED, Slot
from crosscam.gallery.database_file import DATABASE, FORMAT, about_crc, readable
from crosscam.gallery.entries import Verified
from crosscam.gallery.segments import LENGTH_TOLERANCE, ZEROS, Rows, entry_crc, row_sums, segment_sum, value_crc
from crosscam.gallery.store import SEGMENTS, Store, WriterLock
from crosscam.system.files import make_folder, sync_folder
from crosscam.system.locks import only_writer
from crosscam.system.text import parse_json

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


Piece = tuple[int, int, int | None, str]
"""Place and size in bytes of what an entry has in a file, its CRC, and what to call it."""


def backup(store: Store, folder: Path) -> int:
    """See :meth:`crosscam.gallery.Gallery.backup`. The database comes last: a folder without one is no gallery."""
    with only_writer(folder):
        return _backup(store, folder)


def _backup(store: Store, folder: Path) -> int:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GalleryError(f"{folder} is taken. Choose an empty or missing folder for the copy.")
    # In a folder that this user cannot write no lock can be taken; what somebody else writes meanwhile is noticed.
    locked = store.writable or not os.access(store.folder, os.W_OK)
    guard = None if locked else WriterLock(store.folder)
    existed = folder.exists()
    try:
        with store.turn():
            return _copy_all(store, folder)
    except BaseException as error:
        _take_back(folder, existed)
        if isinstance(error, OSError):
            raise GalleryError(
                f"{folder} cannot be written: {error}. Free some space, or choose another place."
            ) from error
        raise
    finally:
        if guard:
            guard.release()


def _copy_all(store: Store, folder: Path) -> int:
    with readable("the database"):
        problems = list(database_problems(store))
    for problem in problems:
        raise GalleryError(_refusal(store, problem))
    slots, generation = all_slots(store), store.generation()
    make_folder(folder / SEGMENTS)
    for number, (rows, thumbs) in store.database.segments().items():
        mine = [slot for slot in slots if slot[1] == number]
        for file, size, pieces in (
            (store.files.rows_file(number), rows * store.files.row_bytes, _rows(mine, store.files.row_bytes)),
            (store.files.thumbs_file(number), thumbs, _thumbnails(mine)),
        ):
            store.files.check_length(file, size)
            _copy(file, folder / SEGMENTS / file.name, size, pieces, lambda what: GalleryError(_refusal(store, what)))
    sync_folder(folder / SEGMENTS)
    part = folder / f"{DATABASE}.part"
    # A copy of the pages would hold what was removed from them; this one holds what is in the database alone.
    store.database.connection.execute("VACUUM INTO ?", (str(part),))
    with closing(sqlite3.connect(part, isolation_level=None)) as target:
        target.execute("PRAGMA journal_mode=WAL").fetchone()
        target.execute("DELETE FROM wipes")
        (count,) = target.execute("SELECT count(*) FROM entries").fetchone()
        (copied,) = target.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    if (count, int(copied)) != (len(slots), generation):
        raise GalleryBusyError(f"{store.folder} was changed while it was copied. Try again when nobody writes it.")
    with open(part, "rb+") as written:
        os.fsync(written.fileno())
    part.rename(folder / DATABASE)
    sync_folder(folder)
    return int(count)


def _rows(slots: Sequence[Slot], size: int) -> list[Piece]:
    return [(row * size, size, crc, f"the descriptor of entry {id_}") for id_, _, row, _, _, crc, _ in slots]


def _thumbnails(slots: Sequence[Slot]) -> list[Piece]:
    found = [
        (at, size, crc, f"the thumbnail of entry {id_}")
        for id_, _, _, at, size, _, crc in slots
        if at is not None and size
    ]
    # A damaged place, which is refused, need not be a number.
    return sorted(found, key=lambda piece: piece[0] if isinstance(piece[0], int) else -1)


def _copy(
    source: Path, target: Path, size: int, pieces: Sequence[Piece], refused: Callable[[str], GalleryError]
) -> None:
    """Copy what entries have in a file, each compared with its checksum, and zeros for the rest.

    What no entry has may be somebody whom a killed writer had not wiped yet.
    """
    with open(source, "rb") as old, open(target, "wb") as new:
        done = 0
        for at, length, crc, what in pieces:
            inside = isinstance(at, int) and isinstance(length, int) and length > 0 and done <= at <= size - length
            old.seek(at if inside else 0)
            data = old.read(length if inside else 0)
            if not inside or zlib.crc32(data) != crc:
                raise refused(f"{what} is not what was added (checksum)")
            _zeros(new, at - done)
            new.write(data)
            done = at + length
        _zeros(new, size - done)
        new.flush()
        os.fsync(new.fileno())


def _zeros(file: IO[bytes], count: int) -> None:
    for start in range(0, count, len(ZEROS)):
        file.write(ZEROS[: min(len(ZEROS), count - start)])


def _refusal(store: Store, problem: str) -> str:
    return (
        f"{store.folder} is damaged, and was not copied: {problem.rstrip('.')}. See 'crosscam gallery verify', and "
        "restore the gallery from an earlier backup."
    )


def _take_back(folder: Path, existed: bool) -> None:
    """Remove what was copied: half a gallery would be in the way of the next try."""
    shutil.rmtree(folder / SEGMENTS, ignore_errors=True)
    for left in folder.glob(f"{DATABASE}*"):
        left.unlink(missing_ok=True)
    if not existed and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
