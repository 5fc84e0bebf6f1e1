"""A second gallery that stands as the first did."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

from crosscam.errors import GalleryError
from crosscam.gallery.checking import all_slots, database_problems
from crosscam.gallery.database import DATABASE, Slot, readable
from crosscam.gallery.segments import ZEROS
from crosscam.gallery.store import SEGMENTS, Store, WriterLock
from crosscam.system.files import make_folder, sync_folder
from crosscam.system.locks import only_writer

Piece = tuple[int, int, int | None, str]
"""Place and size in bytes of what an entry has in a file, its CRC, and what to call it."""


def backup(store: Store, folder: Path) -> int:
    """See :meth:`crosscam.gallery.Gallery.backup`. The database comes last: a folder without one is no gallery."""
    with only_writer(folder):
        return _backup(store, folder)


def _backup(store: Store, folder: Path) -> int:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GalleryError(f"{folder} is taken. Choose an empty or missing folder for the copy.")
    guard = None if store.writable else WriterLock(store.folder)
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
    slots = all_slots(store)
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
