"""The files of descriptors and thumbnails: appended to, wiped in place, never rewritten.

A segment is two files: ``000001.rows`` of float32 rows, and ``000001.thumbs`` of thumbnails one after another. How much
of them counts is said by the database alone, so whatever a crash left behind that end is cut off by the next writer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from crosscam.errors import GalleryError
from crosscam.gallery.rows import Rows
from crosscam.system.files import sync_folder

ZEROS = bytes(1 << 20)
BINARY = getattr(os, "O_BINARY", 0)  # Windows alone has it


class SegmentFiles:
    """The segment files of one gallery.

    Attributes:
        folder: where they are.
        width: numbers in a row, D + L.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return 4 * self.width

    def rows_file(self, number: int) -> Path:
        """The file of a segment's descriptors."""
        return self.folder / f"{number:06d}.rows"

    def thumbs_file(self, number: int) -> Path:
        """The file of a segment's thumbnails."""
        return self.folder / f"{number:06d}.thumbs"

    def append(self, number: int, at_row: int, rows: Rows, at_byte: int, thumbs: bytes) -> None:
        """Write behind the counted end of a segment and flush to disk; a new segment's files are made."""
        new = at_row == 0
        for file, at, data in (
            (
                self.rows_file(number),
                at_row * self.row_bytes,
                np.ascontiguousarray(rows).data.cast("B"),
            ),
            (self.thumbs_file(number), at_byte, memoryview(thumbs)),
        ):
            if new or len(data):
                handle = os.open(file, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
                try:
                    _write_all(handle, data, at)
                    os.fsync(handle)
                finally:
                    os.close(handle)
        if new:
            sync_folder(self.folder)

    def map(self, number: int, rows: int) -> Rows:
        """(rows, D + L) of a segment, mapped from the disk.

        Raises:
            FileNotFoundError: a writer has just compacted the segment away; read the database again.
            GalleryError: the file is shorter than it must be.
        """
        file = self.rows_file(number)
        if rows == 0:
            return np.empty((0, self.width), np.float32)
        self._check_length(file, rows * self.row_bytes)
        return np.memmap(file, np.float32, "r", shape=(rows, self.width))

    def thumbnail(self, number: int, at: int, size: int) -> bytes:
        """The bytes of one thumbnail; errors as in :meth:`map`."""
        place = self.thumbs_file(number)
        if not (isinstance(at, int) and isinstance(size, int) and at >= 0 and size >= 0):
            raise GalleryError(f"{place} cannot hold a thumbnail of {size} bytes at {at}. Restore it from a backup.")
        self._check_length(place, at + size)
        with open(place, "rb") as file:
            file.seek(at)
            return file.read(size)

    def wipe(self, number: int, rows: Iterable[int], thumbs: Iterable[tuple[int, int]]) -> None:
        """Overwrite rows, and (start, size) stretches of thumbnails, with zeros on the disk."""
        stretches = {
            self.rows_file(number): [(row * self.row_bytes, self.row_bytes) for row in rows],
            self.thumbs_file(number): [(at, size) for at, size in thumbs if size],
        }
        for file, places in stretches.items():
            if not places:
                continue
            handle = os.open(file, os.O_RDWR | BINARY)
            try:
                for at, size in places:
                    for start in range(0, size, len(ZEROS)):
                        _write_all(handle, memoryview(ZEROS)[: min(len(ZEROS), size - start)], at + start)
                os.fsync(handle)
            finally:
                os.close(handle)

    def remove(self, numbers: Iterable[int]) -> None:
        """Delete segments; readers that have them mapped go on."""
        for number in numbers:
            self.rows_file(number).unlink(missing_ok=True)
            self.thumbs_file(number).unlink(missing_ok=True)
        sync_folder(self.folder)

    def tidy(self, counted: dict[int, tuple[int, int]]) -> None:
        """Cut off what a crash left: files of no segment, and bytes behind the counted rows and thumbnail bytes.

        Nothing is touched before every counted file was seen to be there and long enough: a database that counts files
        that are not there may be an older or a damaged one, and what it does not count may be all there is.

        Args:
            counted: rows and thumbnail bytes by segment, of a state that is final; see :meth:`Store.settle`.
        Raises:
            GalleryError: a file is missing or too short; nothing was changed.
        """
        sizes = self.sizes(counted)
        for file, size in sizes.items():
            self.check_length(file, size)
        for file in self.folder.iterdir():
            if file.stem.isdecimal() and int(file.stem) not in counted:
                file.unlink()
        for file, size in sizes.items():
            if file.stat().st_size > size:
                os.truncate(file, size)

    def sizes(self, counted: dict[int, tuple[int, int]]) -> dict[Path, int]:
        """The files of counted segments, and how many bytes of each count."""
        sizes: dict[Path, int] = {}
        for number, (rows, thumb_bytes) in counted.items():
            sizes[self.rows_file(number)] = rows * self.row_bytes
            sizes[self.thumbs_file(number)] = thumb_bytes
        return sizes

    def check_length(self, file: Path, size: int) -> None:
        """Refuse a file that is missing or shorter than what counts of it.

        Raises:
            GalleryError: it is.
        """
        try:
            self._check_length(file, size)
        except FileNotFoundError as error:
            raise GalleryError(f"{file} is missing. Restore it from a backup.") from error

    def _check_length(self, file: Path, size: int) -> None:
        found = file.stat().st_size
        if found < size:
            raise self._short(file, size, found)

    def _short(self, file: Path, size: int, found: int) -> GalleryError:
        return GalleryError(f"{file} is cut short: expected {size:,} bytes, found {found:,}. Restore it from a backup.")


def _write_all(handle: int, data: memoryview, at: int) -> None:
    os.lseek(handle, at, os.SEEK_SET)
    while len(data):
        data = data[os.write(handle, data) :]
