"""A gallery in a Milvus database, for more entries than one machine holds.

What differs from a folder: Milvus removes the bytes of forgotten entries at its own compaction, which ``forget`` asks
for and does not wait for; the one writer is kept by a lease that another client could overlook; tracks are not pooled.
It was tested with Milvus Lite alone; see docs/gallery.md.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, GalleryBusyError, GalleryError
from crosscam.gallery import camera_names
from crosscam.gallery.entries import (
    EVERYTHING,
    Entry,
    GalleryInfo,
    Hit,
    ModelIdentity,
    NewEntry,
    Verified,
    Where,
)
from crosscam.gallery.fragments import clock_span
from crosscam.gallery.interface import Gallery
from crosscam.gallery.milvus_tables import (
    AT_ONCE,
    FIELDS,
    NO_PID,
    NO_TIME,
    Address,
    Tables,
    condition,
    connect,
    create_collections,
    to_entry,
    to_record,
)
from crosscam.gallery.people_document import PRUNED
from crosscam.gallery.scan import Nearest, weighted_contributions
from crosscam.gallery.searching import SearchOptions, Weights, reranked
from crosscam.gallery.segments import LENGTH_TOLERANCE, Rows, check_layout, query_rows, widen
from crosscam.models.output import Block, Layout
from crosscam.retrieval.contributions import block_weights

# Milvus gives no more than this many hits; further ones settle the order of nearly equal distances.
MOST_HITS = 16_384
FURTHER_HITS = 64
LEASE_SECONDS = 600
TOKEN = "MILVUS_TOKEN"


class MilvusGallery(Gallery):
    """Two collections of a Milvus database; see :class:`crosscam.gallery.Gallery` for what it does."""

    def __init__(self, place: str, *, write: bool) -> None:
        self._address, self._write = Address.parse(place), write
        self._client = connect(self._address, os.environ.get(TOKEN, ""))
        if not self._client.has_collection(self._address.about):
            self._client.close()
            raise GalleryError(f"No gallery at {place}. Make one with 'crosscam gallery create', or check the address.")
        for name in (self._address.collection, self._address.about):
            self._client.load_collection(name)
        self._tables = Tables(self._client, self._address, place)
        layout = tuple(
            Block(n, a, b, parts, kind, (top, low)) for n, a, b, parts, kind, top, low in self._tables.about("layout")
        )
        super().__init__(place, ModelIdentity(**self._tables.about("model")), layout)
        self._who = f"process {os.getpid()} on {socket.gethostname()}, {clock.time():.3f}"
        if write:
            self._take_lease()

    @classmethod
    def create(cls, place: str, layout: Layout, model: ModelIdentity) -> MilvusGallery:
        """A new gallery, open for writing."""
        check_layout(layout)
        address = Address.parse(place)
        client = connect(address, os.environ.get(TOKEN, ""))
        if client.has_collection(address.collection) or client.has_collection(address.about):
            client.close()
            raise GalleryError(f"{place} is taken. Choose another collection for a new gallery.")
        create_collections(client, address, layout[-1].stop + len(layout))
        blocks = [[b.name, b.start, b.stop, b.num_parts, b.kind, *b.rows] for b in layout]
        about = {"layout": blocks, "last_id": 0, "model": {"fingerprint": model.fingerprint, "name": model.name}}
        for key, value in about.items():
            client.upsert(address.about, [{"key": key, "value": json.dumps(value), "row": [1.0, 0.0]}])
        client.close()
        return cls(place, write=True)

    @classmethod
    def open(cls, place: str, *, write: bool = False) -> MilvusGallery:
        """An existing gallery."""
        return cls(place, write=write)

    def __len__(self) -> int:
        found = self._client.query(self._address.collection, filter="", output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def __repr__(self) -> str:
        # Without the number of entries, which only the database knows.
        return f"MilvusGallery({self.place!r}, {self.model.name!r}, {self.model.fingerprint[:4]}...)"

    def close(self) -> None:
        """Give the lease back and disconnect."""
        if self._client is None:
            return
        if self._write and (self._tables.about("writer") or {}).get("who") == self._who:
            self._tables.set_about("writer", None)
        self._client.close()
        self._client = None

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._write

    def _add(self, rows: Rows, entries: Sequence[NewEntry], thumbnails: Sequence[bytes | None]) -> list[int]:
        """Acknowledged when Milvus has them. Where a later thousand fails, the earlier are removed."""
        named = self.camera_names()
        names = camera_names.with_new(named, entries)
        last, now = int(self._tables.about("last_id")), clock.time()
        # Ids are taken before they are used, so that none is given again after a crash.
        self._tables.set_about("last_id", last + len(rows))
        ids = list(range(last + 1, last + 1 + len(rows)))
        given = zip(ids, entries, widen(rows, self.layout), thumbnails, strict=True)
        records = [to_record(i, entry, row.tolist(), thumbnail, now) for i, entry, row, thumbnail in given]
        try:
            for first in range(0, len(records), AT_ONCE):
                self._client.insert(self._address.collection, records[first : first + AT_ONCE])
        except Exception as error:
            self._client.delete(self._address.collection, filter=f"id > {last}")
            raise GalleryError(f"{self.place} cannot be written: {error}. Nothing was added.") from error
        if names != named:
            self.set_document(camera_names.DOCUMENT, camera_names.as_document(names))
        return ids

    def _search(self, queries: Rows, options: SearchOptions) -> list[list[Hit]]:
        """Ranked by Milvus in float32, the first again in float64."""
        if options.pool_tracks:
            raise GalleryError(f"{self.place} is in Milvus, where tracks cannot be pooled. Search without that.")
        if options.looked_at > MOST_HITS:
            raise ArgumentError(f"Milvus gives at most {MOST_HITS:,} hits, asked for were {options.looked_at:,}.")
        weights = block_weights(options.weights, self.layout)
        limit = min(MOST_HITS, options.looked_at + FURTHER_HITS)
        results = []
        for query, wide in zip(queries, query_rows(queries, weights, self.layout), strict=True):
            found = self._client.search(
                self._address.collection,
                [wide.tolist()],
                limit=limit,
                anns_field="row",
                filter=condition(options.where),
                output_fields=[*FIELDS, "row"],
            )[0]
            results.append(self._hits(query, [hit["entity"] for hit in found], options, weights))
        return results

    def entries(self, where: Where = EVERYTHING, *, start: int = 0, limit: int | None = None) -> list[Entry]:
        """Entries by rising id."""
        records = sorted(self._tables.select(where, FIELDS), key=lambda record: record["id"])
        names = self.camera_names()
        return [to_entry(record, names) for record in records[start : None if limit is None else start + limit]]

    def ids(self, where: Where = EVERYTHING) -> list[int]:
        """Ids of the chosen entries, rising."""
        return sorted(int(record["id"]) for record in self._tables.select(where, ("id",)))

    def get(self, ids: Sequence[int]) -> list[Entry]:
        """Entries by id."""
        names = self.camera_names()
        return [to_entry(record, names) for record in self._tables.records(ids, FIELDS)]

    def known_paths(self, paths: Iterable[str]) -> dict[str, Entry]:
        """Those of some paths that entries have, with the newest entry of each."""
        asked, names, found = list(paths), self.camera_names(), list[Entry]()
        for first in range(0, len(asked), AT_ONCE):
            some = f"path in {json.dumps(asked[first : first + AT_ONCE])}"
            records = self._client.query(self._address.collection, filter=some, output_fields=list(FIELDS))
            found += [to_entry(record, names) for record in records]
        return {entry.path: entry for entry in sorted(found, key=lambda entry: entry.id)}

    def descriptors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """(N, D) descriptors by id."""
        rows = [record["row"] for record in self._tables.records(ids, ("id", "row"))]
        return np.array(rows, np.float32).reshape(len(rows), self.dim + len(self.layout))[:, : self.dim].copy()

    def thumbnails(self, ids: Sequence[int]) -> list[bytes | None]:
        """Thumbnails by id."""
        texts = [record["thumbnail"] for record in self._tables.records(ids, ("id", "thumbnail"))]
        return [base64.b64decode(text) if text else None for text in texts]

    def _update(self, ids: list[int], changes: dict[str, object]) -> int:
        none = {"pid": NO_PID, "time": NO_TIME, "track": ""}
        changes = {name: none[name] if value is None else value for name, value in changes.items()}
        records = self._tables.records(sorted(set(ids)), (*FIELDS, "row", "thumbnail"))
        for first in range(0, len(records), AT_ONCE):
            self._client.upsert(self._address.collection, [r | changes for r in records[first : first + AT_ONCE]])
        if "camid" in changes:
            self._drop_unused_cameras()
        return len(records)

    def _forget(self, where: Where) -> int:
        """Milvus gives the bytes up at its compaction."""
        ids = self.ids(where)
        for first in range(0, len(ids), AT_ONCE):
            self._client.delete(self._address.collection, ids=ids[first : first + AT_ONCE])
        if ids:
            for name, pruned in PRUNED.items():
                left = pruned(self.document(name), lambda n: self.ids(Where(ids=tuple(n))))
                if left is not None:
                    self.set_document(name, left or None)
            self._drop_unused_cameras()
            self.compact()
        return len(ids)

    def compact(self) -> int:
        """Ask Milvus to compact; how many bytes that frees it does not tell, so 0."""
        self._must_write()
        self._client.flush(self._address.collection)
        self._client.compact(self._address.collection)
        return 0

    def info(self) -> GalleryInfo:
        """Counts, model, layout; reads every entry."""
        found = self.entries()
        cameras, counts = np.unique([e.camid for e in found], return_counts=True)
        times = [e.time for e in found if e.time is not None]
        added = [e.added for e in found]
        return GalleryInfo(
            place=self.place,
            model=self.model,
            layout=self.layout,
            entries=len(found),
            wiped=0,
            bytes=None,
            cameras=tuple((int(c), int(n)) for c, n in zip(cameras, counts, strict=True)),
            people=len({e.pid for e in found if e.pid is not None and e.pid > 0}),
            tracks=len({(e.camid, e.track) for e in found if e.track}),
            times=clock_span(times),
            added=(min(added), max(added)) if added else None,
            camera_names=self.camera_names(),
        )

    def verify(self) -> Verified:
        """Whether every descriptor is there and of length 1; Milvus keeps checksums of its own."""
        problems, count = [], 0
        for record in self._tables.select(EVERYTHING, ("id", "row")):
            length = float(np.linalg.norm(record["row"][: self.dim]))
            if not abs(length - 1) <= 2 * LENGTH_TOLERANCE:
                problems.append(f"Entry {record['id']}: the descriptor has length {length:.4g}, expected 1.")
            count += 1
        return Verified(count, tuple(problems[:20]))

    def backup(self, folder: Path) -> int:
        """Not from here."""
        raise GalleryError(
            f"{self.place} is in Milvus. Back it up with milvus-backup, or export it to {folder}.parquet."
        )

    def camera_names(self) -> dict[int, str]:
        """Names by camid, of those cameras that have one."""
        return camera_names.read_names(self.document(camera_names.DOCUMENT))

    def name_cameras(self, names: Mapping[int, str | None]) -> None:
        """Give cameras other names."""
        unknown = [camid for camid in names if not self._has_camera(camid)]
        if unknown:
            raise ArgumentError(f"{self.place} has no entries of camera {unknown[0]}, so that it cannot be named.")
        after = camera_names.renamed(self.camera_names(), names.items())
        self.set_document(camera_names.DOCUMENT, camera_names.as_document(after))

    def _has_camera(self, camid: int) -> bool:
        where = condition(Where(camids=(camid,)))
        return bool(self._client.query(self._address.collection, filter=where, output_fields=["id"], limit=1))

    def _drop_unused_cameras(self) -> None:
        """The name of a camera goes with its last entry."""
        names = self.camera_names()
        left = {camid: name for camid, name in names.items() if self._has_camera(camid)}
        if len(left) < len(names):
            self.set_document(camera_names.DOCUMENT, camera_names.as_document(left))

    def document(self, name: str) -> Any:
        """A JSON value kept with the gallery."""
        return self._tables.about(f"document {name}")

    def set_document(self, name: str, value: Any) -> None:
        """Keep a JSON value with the gallery."""
        self._must_write()
        self._tables.set_about(f"document {name}", value)

    def _hits(self, query: Rows, records: list[dict[str, Any]], options: SearchOptions, weights: Weights) -> list[Hit]:
        if not records:
            return []
        rows = np.array([record["row"] for record in records], np.float32)
        parts = weighted_contributions(query, rows, weights, self.layout)
        squares = parts.sum(axis=1)
        order = np.lexsort(([record["id"] for record in records], squares))[: options.looked_at]
        found = Nearest(order, parts[order], np.sqrt(squares[order]))
        kept, changed = reranked(query, found, options, weights, self.layout, rows[order])
        names = self.camera_names()
        return [
            Hit(to_entry(records[place], names), float(distance), contributions, again)
            for place, distance, contributions, again in zip(
                kept.keys, kept.distances, kept.contributions, changed, strict=True
            )
        ]

    def _must_write(self) -> None:
        if not self._write:
            raise GalleryError(f"{self.place} is open for reading. Open it with write=True to change it.")
        self._take_lease()

    def _take_lease(self) -> None:
        """Say who writes, for ten minutes after each change."""
        held = self._tables.about("writer")
        if held and held["who"] != self._who and held["until"] > clock.time():
            left = held["until"] - clock.time()
            raise GalleryBusyError(
                f"{self.place} is being written by {held['who']}. Its lease ends in {left:.0f} s unless it goes on."
            )
        self._tables.set_about("writer", {"who": self._who, "until": clock.time() + LEASE_SECONDS})
