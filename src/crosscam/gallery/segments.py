"""How descriptors and thumbnails are kept: as rows, in files that are appended to, wiped in place, never rewritten.

One matrix product ranks under any weights. With weights w over the blocks b, the squared distance of query q and entry
g is

    sum_b w_b |q_b - g_b|^2  =  sum_b w_b |q_b|^2  -  ( [2 w q, -w] . [g, |g_b|^2] )

so a kept row is the descriptor followed by the squared length of each of its blocks, and a query is one row as well.
The product is in float32 and only chooses candidates; distances come from
:func:`crosscam.retrieval.contributions.part_contributions`.

Checksums are of two kinds, for two questions. A CRC-32 of each row, of each thumbnail and of each entry's own fields is
what ``verify``, ``backup`` and ``descriptors`` compare. A search reads every row, and a CRC of them all would take
longer than to open the gallery; it compares one sum for each segment, which runs at the speed of the memory (7 GB/s
against 1 GB/s).

A segment is two files: ``000001.rows`` of float32 rows, and ``000001.thumbs`` of thumbnails one after another. How much
of them counts is said by the database alone, so whatever a crash left behind that end is cut off by the next writer.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, GalleryError
from crosscam.models.output import Layout
from crosscam.system.files import sync_folder

Rows = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

LENGTH_TOLERANCE = 1e-3
_ROUNDING = 2.0**-24


def check_descriptors(descriptors: Floats, layout: Layout, what: str) -> Rows:
    """(N, D) float32 of length 1, or ValueError with the first row at fault."""
    dim = layout[-1].stop
    if descriptors.ndim != 2 or descriptors.shape[1] != dim:
        raise ArgumentError(f"The {what} must be (N, {dim}) for this gallery, found shape {descriptors.shape}.")
    rows = np.ascontiguousarray(descriptors, np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))
    if len(wrong):
        raise ArgumentError(
            f"Row {wrong[0]} of the {what} has length {lengths[wrong[0]]:.4g}. Expected 1, as an Extractor gives it."
        )
    return rows


def widen(descriptors: Rows, layout: Layout) -> Rows:
    """(N, D + L) rows to keep from (N, D) descriptors."""
    dim = layout[-1].stop
    wide = np.empty((len(descriptors), dim + len(layout)), np.float32)
    wide[:, :dim] = descriptors
    for place, block in enumerate(layout, start=dim):
        part = descriptors[:, block.start : block.stop]
        wide[:, place] = np.einsum("nd,nd->n", part, part)
    return wide


def check_layout(layout: Layout) -> None:
    """Refuse a layout whose blocks do not stand side by side from 0 on."""
    ends = [0, *(block.stop for block in layout)]
    names = {block.name for block in layout}
    covers = all(b.start == end and b.dim > 0 for b, end in zip(layout, ends, strict=False))
    if not layout or len(names) < len(layout) or not covers:
        raise ArgumentError("The blocks of a layout must have different names and cover the descriptor once, in order.")


def query_rows(queries: Rows, weights: NDArray[np.float64], layout: Layout) -> Rows:
    """(Q, D + L): the product with a kept row is larger for a nearer entry."""
    dim = layout[-1].stop
    wide = np.empty((len(queries), dim + len(layout)), np.float32)
    for block, weight in zip(layout, weights, strict=True):
        wide[:, block.start : block.stop] = 2 * weight * queries[:, block.start : block.stop]
    wide[:, dim:] = -weights
    return wide


def product_error(weights: NDArray[np.float64], layout: Layout) -> float:
    """How far apart two products may lie although the true squared distances are equal.

    The worst case of any order of summation in float32 (Higham, "Accuracy and Stability of Numerical Algorithms",
    section 3.1: n rounding errors each relative to the sum of the absolute terms, which is at most 3 max(w) for rows of
    length 1), for both of the two products.
    """
    terms = layout[-1].stop + len(layout) + 2
    return float(2 * terms * _ROUNDING * 3 * weights.max() * (1 + LENGTH_TOLERANCE) ** 2)


Keys = NDArray[np.int64]
Sums = NDArray[np.uint64]


def row_sums(rows: Rows) -> Sums:
    """(n,) the sum of each row's 32-bit words, modulo 2**32."""
    words = np.ascontiguousarray(rows).view(np.uint32)
    sums: Sums = np.add.reduce(words, axis=1, dtype=np.uint32).astype(np.uint64)
    return sums


def segment_sum(sums: Sums, numbers: Keys) -> int:
    """What some rows contribute to the sum of their segment, as a signed 64-bit number.

    Each row counts with an odd factor by its place, so that rows that changed places are noticed. Contributions of
    different rows add up, modulo 2**64.

    Args:
        sums: (n,) of :func:`row_sums`.
        numbers: (n,) places of the rows in their segment.
    """
    factors = 2 * numbers.astype(np.uint64) + np.uint64(1)
    return signed(int(np.add.reduce(sums * factors, dtype=np.uint64)))


def signed(value: int) -> int:
    """A number modulo 2**64 as SQLite keeps it."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


def entry_crc(fields: tuple[Any, ...]) -> int:
    """CRC-32 of an entry's own fields, in the order of :data:`crosscam.gallery.database.CHECKED`."""
    return zlib.crc32(repr(fields).encode("utf-8", "surrogatepass"))


def value_crc(name: str, text: str) -> int:
    """CRC-32 of a document or of what a gallery says of itself."""
    # A damaged database may give bytes, which are never what was kept.
    return zlib.crc32(json.dumps([name, text], default=repr).encode())


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
