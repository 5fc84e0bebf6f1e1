"""The parts of a gallery's folder, opened together, and its present state in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from crosscam.data.labels import whole_number
from crosscam.errors import GalleryBusyError, GalleryError
from crosscam.gallery.database import DATABASE, Database, Slot
from crosscam.gallery.inverted import INDEX, InvertedLists
from crosscam.gallery.records import Entry, ModelIdentity
from crosscam.gallery.segments import SegmentFiles, sync_folder
from crosscam.gallery.snapshot import Snapshot, extend, load
from crosscam.gallery.writer_lock import WriterLock
from crosscam.models.output import Layout

SEGMENTS = "segments"
SEGMENT_ROWS = 65_536
TRIES = 20


class Store:
    """An open gallery folder.

    Attributes:
        folder: the gallery.
        model, layout: what made the descriptors, and their blocks.
        database, files: its parts; take ``lock`` before using the database.
        segment_rows: rows after which a new segment begins.
        writable: whether this is the writer.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        if not (folder / DATABASE).is_file():
            raise GalleryError(f"No gallery at {folder}. Make one with 'crosscam gallery create', or check the path.")
        self.folder = folder
        self.lock = threading.RLock()
        self.writable = write
        self._writer = WriterLock(folder) if write else None
        try:
            self.database = Database(folder / DATABASE, write=write)
            self.model: ModelIdentity = self.database.model()
            self.layout: Layout = self.database.layout()
            self.segment_rows = int(self.database.meta("segment_rows"))
            self.files = SegmentFiles(folder / SEGMENTS, self.layout[-1].stop + len(self.layout))
            if write:
                self._recover()
        except BaseException:
            if self._writer:
                self._writer.release()
            raise
        self._seen = -1
        self._changed = False
        self._snapshot: Snapshot | None = None
        self._lists: tuple[tuple[int, int] | None, InvertedLists | None] = (None, None)
        self._closed = False

    @staticmethod
    def create(folder: Path, layout: Layout, model: ModelIdentity, segment_rows: int = SEGMENT_ROWS) -> None:
        """A new gallery folder; errors as in :func:`crosscam.gallery.create_gallery`."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise GalleryError(f"{folder} is taken. Choose an empty or missing folder for a new gallery.")
        try:
            (folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GalleryError(f"{folder} cannot be made: {error.strerror or error}. Choose another place.") from error
        Database.create(folder / DATABASE, layout, model, segment_rows)
        sync_folder(folder)

    def close(self) -> None:
        """Give back files and locks."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            self._snapshot = None
            self.database.close()
            if self._writer:
                self._writer.release()

    def must_write(self) -> None:
        """Refuse a change to a gallery that was opened for reading."""
        self.must_be_open()
        if not self.writable:
            raise GalleryError(f"{self.folder} is open for reading. Open it with write=True to change it.")

    def must_be_open(self) -> None:
        """Refuse a closed gallery."""
        if self._closed:
            raise GalleryError(f"{self.folder} has been closed. Open it again.")

    def snapshot(self) -> Snapshot:
        """The present state; what others acknowledged is in it.

        Raises:
            GalleryError: damaged files.
        """
        with self.lock:
            self.must_be_open()
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
        with self.lock:
            self.must_be_open()
            return int(self.database.meta("generation"))

    def entries(self, ids: Sequence[int]) -> list[Entry]:
        """Entries in the order of the ids; GalleryError for an unknown one."""
        with self.lock:
            self.must_be_open()
            found = self.database.entries(ids)
        self._all_there(ids, found)
        return [found[int(i)] for i in ids]

    def slots(self, ids: Sequence[int]) -> list[Slot]:
        """Where entries lie, in the order of the ids; GalleryError for an unknown one."""
        numbers = [whole_number(i, "id") for i in ids]
        with self.lock:
            self.must_be_open()
            found = self.database.slots(numbers)
        self._all_there(numbers, found)
        return [found[i] for i in numbers]

    def lists(self) -> InvertedLists | None:
        """The index of the approximate search, None where there is none."""
        file = self.folder / INDEX
        try:
            status = file.stat()
        except FileNotFoundError:
            return None
        with self.lock:
            stamp = (status.st_mtime_ns, status.st_ino)
            if self._lists[0] != stamp:
                self._lists = (stamp, InvertedLists.read(file))
            return self._lists[1]

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
        """Finish what a crash interrupted."""
        self.files.tidy(self.database.segments())
        for part in self.folder.glob("*.part"):
            part.unlink()
        if self.database.connection.execute("SELECT 1 FROM wipes LIMIT 1").fetchone():
            self.wipe()

    def _all_there(self, ids: Sequence[int], found: dict[int, object] | dict[int, Entry] | dict[int, Slot]) -> None:
        lost = [int(i) for i in ids if int(i) not in found]
        if lost:
            raise GalleryError(f"{self.folder} has no entry {lost[0]}. It may have been forgotten.")
