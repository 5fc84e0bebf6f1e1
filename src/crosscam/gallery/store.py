"""The parts of a gallery's folder, opened together, and its present state in memory."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from crosscam.data.labels import whole_number
from crosscam.errors import GalleryBusyError, GalleryError
from crosscam.gallery.database import Database, Slot
from crosscam.gallery.database_file import DATABASE, create_database
from crosscam.gallery.entries import Entry, ModelIdentity
from crosscam.gallery.segments import SegmentFiles, row_sums, segment_sum
from crosscam.gallery.snapshot import SegmentChecks, Snapshot, extend, load
from crosscam.models.output import Layout
from crosscam.system.files import make_folder, sync_folder
from crosscam.system.locks import Lock, only_writer

SEGMENTS = "segments"
SEGMENT_ROWS = 65_536
TRIES = 20
# Of the approximate search of earlier versions: means of people and their ids, which nobody may keep.
FORMER_INDEX = "lists.npz"

LOCK = "writer.lock"
# Seconds that a writer waits for another one: most writers, such as a watch, need a moment.
PATIENCE = 5.0
# Seconds that the result of long work waits.
LONG_PATIENCE = 60.0


class Store:
    """An open gallery folder.

    Attributes:
        folder: the gallery.
        model, layout: what made the descriptors, and their blocks.
        database, files: its parts; use the database within :meth:`turn` alone.
        segment_rows: rows after which a new segment begins.
        writable: whether this is the writer.
    """

    def __init__(self, folder: Path, *, write: bool, patience: float | None = None) -> None:
        if not (folder / DATABASE).is_file():
            raise GalleryError(f"No gallery at {folder}. Make one with 'crosscam gallery create', or check the path.")
        self.folder = folder
        self.writable = write
        self.checks = SegmentChecks()
        self._lock = threading.RLock()
        self._closed = False
        self._forked = False
        self._writer = WriterLock(folder, patience) if write else None
        try:
            self.database = Database(folder / DATABASE, write=write)
            try:
                with self.turn():
                    self.model: ModelIdentity = self.database.model()
                    self.layout: Layout = self.database.layout()
                    self.segment_rows = int(self.database.meta("segment_rows"))
                    self.files = SegmentFiles(folder / SEGMENTS, self.layout[-1].stop + len(self.layout))
                    if write:
                        self._recover()
            except BaseException:
                self.database.close()
                raise
        except BaseException:
            if self._writer:
                self._writer.release()
            raise
        self._seen = -1
        self._changed = False
        self._snapshot: Snapshot | None = None
        _OPEN.add(self)

    @staticmethod
    def create(folder: Path, layout: Layout, model: ModelIdentity, segment_rows: int = SEGMENT_ROWS) -> None:
        """A new gallery folder; errors as in :func:`crosscam.gallery.create_gallery`."""
        if folder.exists() and not folder.is_dir():
            raise GalleryError(f"{folder} is taken. Choose an empty or missing folder for a new gallery.")
        with only_writer(folder):
            if folder.exists() and any(folder.iterdir()):
                raise GalleryError(f"{folder} is taken. Choose an empty or missing folder for a new gallery.")
            try:
                make_folder(folder / SEGMENTS)
            except OSError as error:
                raise GalleryError(
                    f"{folder} cannot be made: {error.strerror or error}. Choose another place."
                ) from error
            create_database(folder / DATABASE, layout, model, segment_rows)
            sync_folder(folder)

    def close(self) -> None:
        """Give back files and locks."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._snapshot = None
            _OPEN.discard(self)
            self.database.close()
            if self._writer:
                self._writer.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One thread at a time at the database, while the gallery is open; faults of the database as one clear line.

        Raises:
            GalleryError: the gallery is closed, or its database is damaged or cannot be read.
        """
        with self._lock:
            self.must_be_open()
            if self._forked:
                self._open_again()
            try:
                yield
            except sqlite3.Error as error:
                raise GalleryError(
                    f"{self.folder}: the database is damaged or cannot be read ({' '.join(str(error).split())}). "
                    "See what 'crosscam gallery verify' says, and restore the gallery from a backup."
                ) from error

    def must_write(self) -> None:
        """Refuse a change to a gallery that was opened for reading."""
        self.must_be_open()
        if not self.writable:
            raise GalleryError(f"{self.folder} is open for reading. Open it with write=True to change it.")

    def must_be_open(self) -> None:
        """Refuse a closed gallery, and in a forked child one that its parent writes."""
        if self._forked and self.writable:
            raise GalleryError(
                f"{self.folder} was opened for writing by the process that this one was forked from, which goes on "
                "writing it. Open the gallery in this process, for reading."
            )
        if self._closed:
            raise GalleryError(f"{self.folder} has been closed. Open it again.")

    def snapshot(self) -> Snapshot:
        """The present state; what others acknowledged is in it.

        Raises:
            GalleryError: damaged files.
        """
        with self.turn():
            for _ in range(TRIES):
                seen = self.database.data_version()
                old = self._snapshot
                if old is not None and seen == self._seen and not self._changed:
                    return old
                try:
                    self._snapshot = (
                        load(self.database, self.files, 1)
                        if old is None
                        else extend(old, self.database, self.files, old.version + 1)
                    )
                except FileNotFoundError:  # compacted away between the look into the database and the mapping
                    continue
                self._seen, self._changed = seen, False
                return self._snapshot
        raise GalleryError(f"{self.folder}: segment files named by the database are missing. Restore it from a backup.")

    def changed(self) -> None:
        """This connection has changed the database, which its data version does not tell."""
        self._changed = True

    def generation(self) -> int:
        """Of the database, now."""
        with self.turn():
            return int(self.database.meta("generation"))

    def entries(self, ids: Sequence[int]) -> list[Entry]:
        """Entries in the order of the ids; GalleryError for an unknown one."""
        with self.turn():
            found = self.database.entries(ids, checked=True)
        self._all_there(ids, found)
        return [found[int(i)] for i in ids]

    def slots(self, ids: Sequence[int]) -> list[Slot]:
        """Where entries lie, in the order of the ids; GalleryError for an unknown one."""
        numbers = [whole_number(i, "id") for i in ids]
        with self.turn():
            found = self.database.slots(numbers)
        self._all_there(numbers, found)
        return [found[i] for i in numbers]

    def settle(self) -> None:
        """Make what the database says final; see :meth:`crosscam.gallery.database.Database.settle`."""
        self.database.settle()
        self.changed()

    def crcs(self, number: int) -> dict[int, int]:
        """The CRC of each entry's row in a segment, by row."""
        with self.turn():
            query = "SELECT row, row_crc FROM entries WHERE segment = ?"
            return dict(self.database.connection.execute(query, (number,)))

    def unsound(self, snapshot: Snapshot) -> Path | None:
        """The first segment file whose rows are not what was added; each row is read once for that."""
        for number in snapshot.starts:
            if not self.checks.sound(snapshot, number, self.crcs):
                return self.files.rows_file(number)
        return None

    def wipe(self) -> None:
        """Overwrite what was forgotten, on the disk; the last part of forgetting, and the first of opening.

        Raises:
            GalleryBusyError: a reader holds the log for too long; the wiping is repeated at the next opening.
        """
        connection = self.database.connection
        found = connection.execute(
            "SELECT segment, row, thumb_at, thumb_size FROM wipes ORDER BY segment, row"
        ).fetchall()
        counted = self.database.segments()
        for number in sorted({row[0] for row in found} & set(counted)):
            mine = [row for row in found if row[0] == number]
            self.files.wipe(number, [row[1] for row in mine], [(row[2] or 0, row[3] or 0) for row in mine])
        try:
            self.database.vacuum()
        except sqlite3.Error as error:
            raise GalleryError(
                f"{self.folder}: descriptors and thumbnails are wiped, but the database cannot be written anew "
                f"({error}), so removed names may be left in it. Free some space and open the gallery for writing."
            ) from error
        for _ in range(TRIES):
            if self.database.checkpoint():
                break
        else:
            raise GalleryBusyError(
                f"{self.folder}: descriptors and thumbnails are wiped, but a reader keeps the log of removed names "
                "from being emptied. Close it and open the gallery for writing once more."
            )
        if found:
            with self.database.transaction():
                connection.execute("DELETE FROM wipes")

    def _recover(self) -> None:
        """Finish what a crash interrupted, from a state that no crash can change any more."""
        self._seen, self._changed, self._snapshot = -1, False, None
        self.settle()
        self.files.tidy(self.database.segments())
        for pattern in ("*.part", "*.part-*", FORMER_INDEX):
            for left in self.folder.glob(pattern):
                left.unlink()
        if self.database.connection.execute("SELECT 1 FROM wipes LIMIT 1").fetchone():
            self.wipe()
        self.database.upgrade(self._sum_if_sound)
        # What a killed writer left in the log behind the last commit is not in the way, but it may be somebody's name.
        self.database.checkpoint()

    def _sum_if_sound(self, number: int) -> int | None:
        """The sum of a segment's rows that are what was added; None where one is not."""
        crcs = self.crcs(number)
        rows = self.files.map(number, self.database.segments()[number][0])
        if not all(isinstance(row, int) and 0 <= row < len(rows) for row in crcs):
            return None
        if any(zlib.crc32(rows[row]) != crc for row, crc in crcs.items()):
            return None
        numbers = np.array(sorted(crcs), np.int64)
        return segment_sum(row_sums(rows[numbers]), numbers)

    def _open_again(self) -> None:
        """In a forked child: a connection of its own, because one of SQLite's must not be carried across a fork."""
        self.database = Database(self.folder / DATABASE, write=False)
        self._seen, self._forked = -1, False

    def before_fork(self) -> None:
        """Wait until no thread is in the database: a child would wait for that thread for ever."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Go on; in a child, let go of what belongs to the parent."""
        if child:
            self._forked = True
            self.database.close()
            # The lock file belongs to the parent; the library closes this process's copy of it.
            self._writer = None
        self._lock.release()

    def _all_there(self, ids: Sequence[int], found: dict[int, object] | dict[int, Entry] | dict[int, Slot]) -> None:
        lost = [int(i) for i in ids if int(i) not in found]
        if lost:
            raise GalleryError(f"{self.folder} has no entry {lost[0]}. It may have been forgotten.")


_OPEN: weakref.WeakSet[Store] = weakref.WeakSet()
_FORKING: list[Store] = []


def _before_fork() -> None:
    _FORKING[:] = list(_OPEN)
    for store in _FORKING:
        store.before_fork()


def _after_fork(child: bool) -> None:
    for store in reversed(_FORKING):
        store.after_fork(child=child)
    _FORKING.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(child=False),
        after_in_child=lambda: _after_fork(child=True),
    )


class WriterLock:
    """Held from its making to :meth:`release`. Two writers in one process exclude each other as well.

    Raises:
        GalleryBusyError: somebody else holds it for longer than ``patience`` seconds; the message says who.
    """

    def __init__(self, folder: Path, patience: float | None = None) -> None:
        self._lock = Lock(folder / LOCK)
        try:
            taken = self._lock.take(wait=PATIENCE if patience is None else patience)
        except OSError as error:
            raise GalleryError(
                f"{folder} cannot be written: {error.strerror or error}. Check who may write there."
            ) from error
        if not taken:
            raise GalleryBusyError(
                f"{folder} is being written by {self._lock.holder()}. Wait until it is done, or open the gallery for "
                "reading."
            )

    def release(self) -> None:
        """Let the next writer in."""
        self._lock.release()
