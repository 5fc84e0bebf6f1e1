"""A second gallery that stands as the first did."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from crosscam.errors import GalleryError
from crosscam.gallery.database import DATABASE
from crosscam.gallery.inverted import INDEX
from crosscam.gallery.segments import sync_folder
from crosscam.gallery.store import SEGMENTS, Store
from crosscam.gallery.writer_lock import WriterLock


def backup(store: Store, folder: Path) -> int:
    """See :meth:`crosscam.gallery.Gallery.backup`. The database comes last: a folder without one is no gallery."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GalleryError(f"{folder} is taken. Choose an empty or missing folder for the copy.")
    guard = None if store.writable else WriterLock(store.folder)
    try:
        with store.lock:
            store.must_be_open()
            (folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
            for number, (rows, thumbs) in store.database.segments().items():
                for file, size in (
                    (store.files.rows_file(number), rows * store.files.row_bytes),
                    (store.files.thumbs_file(number), thumbs),
                ):
                    _copy(file, folder / SEGMENTS / file.name, size)
            if (store.folder / INDEX).exists():
                _copy(store.folder / INDEX, folder / INDEX, (store.folder / INDEX).stat().st_size)
            sync_folder(folder / SEGMENTS)
            with closing(sqlite3.connect(folder / f"{DATABASE}.part")) as target:
                store.database.connection.backup(target)
            (folder / f"{DATABASE}.part").rename(folder / DATABASE)
            sync_folder(folder)
            (count,) = store.database.connection.execute("SELECT count(*) FROM entries").fetchone()
            return int(count)
    except (OSError, sqlite3.Error) as error:
        raise GalleryError(f"{folder} cannot be written: {error}. Free some space, or choose another place.") from error
    finally:
        if guard:
            guard.release()


def _copy(source: Path, target: Path, size: int) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:
        shutil.copyfileobj(old, new, 1 << 22)
        new.truncate(size)
        new.flush()
        os.fsync(new.fileno())
