"""What a search of a gallery gives: lists of hits that show their pictures in notebooks, and become tables."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, SupportsIndex, overload

from crosscam.errors import CrosscamError
from crosscam.gallery.entries import Hit
from crosscam.system.columns import Column, Columns, Tabular
from crosscam.system.text import printable

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
        pictures: list[bytes | None] = [None] * len(shown)
        if self._thumbnails is not None:
            try:
                pictures = self._thumbnails([hit.entry.id for hit in shown])
            except CrosscamError:  # the gallery is closed, or an entry was forgotten since
                pictures = [None] * len(shown)
        cells = [_cell(rank, hit, data) for rank, (hit, data) in enumerate(zip(shown, pictures, strict=True), 1)]
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
