"""A gallery as a table for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import GalleryError
from crosscam.gallery.entries import Entry, Where
from crosscam.system.files import write_atomically
from crosscam.system.locks import only_writer

if TYPE_CHECKING:
    from crosscam.gallery.interface import Gallery

ROWS_AT_ONCE = 8192
SUFFIXES = (".parquet", ".npz")
Part = tuple[list[Entry], NDArray[np.float32]]


def export_entries(gallery: Gallery, file: Path, where: Where) -> int:
    """Write entries with their descriptors; a kill at any instant leaves no half a table.

    Args:
        gallery: where they are.
        file: .parquet or .npz.
        where: which entries.
    Returns:
        Entries written.
    Raises:
        GalleryError: another suffix, a missing package, or a disk that cannot be written.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise GalleryError(f"{file} cannot be written. Expected a name that ends in {' or '.join(SUFFIXES)}.")
    ids = gallery.ids(where)
    pieces = (ids[first : first + ROWS_AT_ONCE] for first in range(0, len(ids), ROWS_AT_ONCE))
    parts = ((gallery.get(some), gallery.descriptors(some)) for some in pieces)

    def write(path: Path) -> None:
        if file.suffix.lower() == ".parquet":
            _parquet(path, gallery.dim, parts)
        else:
            _npz(path, len(ids), gallery.dim, parts)

    with only_writer(file):
        write_atomically(file, write, error=GalleryError)
    return len(ids)


def _parquet(file: Path, dim: int, parts: Iterator[Part]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise GalleryError(f"Writing {file.suffix} needs pyarrow: pip install 'crosscam[gallery]'.") from error
    kinds = [("id", pa.int64()), ("path", pa.string()), ("pid", pa.int64()), ("camid", pa.int64())]
    kinds += [("camera", pa.string()), ("time", pa.float64()), ("track", pa.string()), ("added", pa.float64())]
    schema = pa.schema([*kinds, ("descriptor", pa.list_(pa.float32(), dim))])
    with pq.ParquetWriter(file, schema) as writer:
        for entries, descriptors in parts:
            columns = [pa.array([getattr(e, name) for e in entries], kind) for name, kind in kinds]
            flat = pa.array(np.ascontiguousarray(descriptors).ravel())
            writer.write_table(pa.table([*columns, pa.FixedSizeListArray.from_arrays(flat, dim)], schema=schema))


def _npz(file: Path, count: int, dim: int, parts: Iterator[Part]) -> None:
    """One array for each column; missing are the smallest 64-bit number as pid, NaN as time, and '' as track and
    as name of a camera."""
    everyone: list[Entry] = []
    descriptors = np.empty((count, dim), np.float32)
    for entries, rows in parts:
        descriptors[len(everyone) : len(everyone) + len(entries)] = rows
        everyone += entries
    columns: dict[str, NDArray[Any]] = {
        "id": np.array([e.id for e in everyone], np.int64),
        "path": _texts([e.path for e in everyone]),
        "pid": np.array([np.iinfo(np.int64).min if e.pid is None else e.pid for e in everyone], np.int64),
        "camid": np.array([e.camid for e in everyone], np.int64),
        "camera": _texts([e.camera or "" for e in everyone]),
        "time": np.array([np.nan if e.time is None else e.time for e in everyone], np.float64),
        "track": _texts([e.track or "" for e in everyone]),
        "added": np.array([e.added for e in everyone], np.float64),
    }
    with open(file, "wb") as out:
        np.savez(out, descriptor=descriptors[: len(everyone)], **columns)  # type: ignore[arg-type]


def _texts(values: Sequence[str]) -> NDArray[np.str_]:
    return np.array(values, dtype=np.str_)
