"""What a gallery gives: lists of hits that show their images in notebooks and become tables; entries in a file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import CrosscamError, GalleryError
from crosscam.gallery.entries import Entry, Hit, Where
from crosscam.system import needed
from crosscam.system.columns import Column, Columns, Tabular
from crosscam.system.files import write_atomically
from crosscam.system.locks import only_writer
from crosscam.system.text import printable

if TYPE_CHECKING:
    from crosscam.gallery.interface import Gallery

ROWS_AT_ONCE = 8192
SUFFIXES = (".parquet", ".npz")
Part = tuple[list[Entry], NDArray[np.float32]]
Thumbnails = Callable[[Sequence[int]], list[bytes | None]]
# In a notebook; further hits are counted.
MOST_SHOWN = 50
_CELL = "display:inline-block;width:110px;margin:4px;vertical-align:top;font-size:12px;overflow-wrap:anywhere"


class Hits(list[Hit], Tabular):
    """The hits of one query, nearest first; a row of a table is a hit.

    Args:
        hits: in their order.
        thumbnails: gives the thumbnails of entries by id, for notebooks; None for none.
    """

    def __init__(self, hits: Iterable[Hit] = (), thumbnails: Thumbnails | None = None) -> None:
        super().__init__(hits)
        self._thumbnails = thumbnails

    @overload
    def __getitem__(self, place: SupportsIndex) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> Hits: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Hit | Hits:
        if isinstance(place, slice):
            return Hits(super().__getitem__(place), self._thumbnails)
        return super().__getitem__(place)

    def __reduce__(self) -> tuple[Any, ...]:
        # An open gallery cannot be pickled; its hits can.
        return Hits, (list(self),)

    def _columns(self) -> Columns:
        return _columns([self])

    def _repr_html_(self) -> str:
        """The hits with their thumbnails, in one piece of HTML that fetches nothing."""
        shown = self[:MOST_SHOWN]
        images: list[bytes | None] = [None] * len(shown)
        if self._thumbnails is not None:
            try:
                images = self._thumbnails([hit.entry.id for hit in shown])
            except CrosscamError:  # the gallery is closed, or an entry was forgotten since
                images = [None] * len(shown)
        cells = [_cell(rank, hit, data) for rank, (hit, data) in enumerate(zip(shown, images, strict=True), 1)]
        more = f"<p>and {len(self) - len(shown):,} more</p>" if len(self) > len(shown) else ""
        return f"<div>{''.join(cells)}{more}</div>" if cells else "<p>No hits.</p>"


class SearchResult(list[Hits], Tabular):
    """The hits of several queries, in the order of the queries; a row of a table is a hit, ``query`` counts from 0."""

    def _columns(self) -> Columns:
        return _columns(self)

    def _repr_html_(self) -> str:
        """The hits of each query below each other."""
        parts = (f"<p>Query {place}</p>{hits._repr_html_()}" for place, hits in enumerate(self))
        return f"<div>{''.join(parts)}</div>"


def _columns(queries: Sequence[Hits]) -> Columns:
    rows = [(place, rank, hit) for place, hits in enumerate(queries) for rank, hit in enumerate(hits, 1)]
    entries = [hit.entry for _, _, hit in rows]
    return {
        "query": Column("int", [place for place, _, _ in rows]),
        "rank": Column("int", [rank for _, rank, _ in rows]),
        "distance": Column("float", [hit.distance for _, _, hit in rows]),
        "id": Column("int", [entry.id for entry in entries]),
        "path": Column("text", [entry.path for entry in entries]),
        "camid": Column("int", [entry.camid for entry in entries]),
        "camera": Column("text", [entry.camera for entry in entries]),
        "pid": Column("int", [entry.pid for entry in entries]),
        "time": Column("float", [entry.time for entry in entries]),
        "track": Column("text", [entry.track for entry in entries]),
        "reranked": Column("float", [hit.reranked for _, _, hit in rows]),
        "pooled": Column("int", [hit.pooled for _, _, hit in rows]),
    }


def _cell(rank: int, hit: Hit, data: bytes | None) -> str:
    entry = hit.entry
    name = escape(printable(entry.path.rpartition("/")[2] or entry.path))
    who = "" if entry.pid is None else f", pid {entry.pid}"
    image = ""
    if data is not None:
        kind = "webp" if data[:4] == b"RIFF" else "jpeg"
        text = base64.b64encode(data).decode("ascii")
        image = f'<img src="data:image/{kind};base64,{text}" alt="{name}" style="height:128px"><br>'
    return (
        f'<div style="{_CELL}" title="{escape(printable(entry.path))}">{image}<b>{rank}</b> at {hit.distance:.3f}<br>'
        f"camera {escape(printable(entry.camera_label))}{who}<br>{name}</div>"
    )


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
    said = f"Writing {file.suffix} needs pyarrow: pip install 'crosscam[gallery]'."
    pa, pq = (needed(name, said, GalleryError) for name in ("pyarrow", "pyarrow.parquet"))
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
