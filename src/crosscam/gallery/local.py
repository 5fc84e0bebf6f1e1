"""A gallery in a folder of this machine."""

from __future__ import annotations

import math
import time as clock
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from crosscam.data.labels import whole_number
from crosscam.errors import ArgumentError, GalleryError, ModelMismatchError
from crosscam.gallery import writing
from crosscam.gallery.entries import (
    EVERYTHING,
    KEEP,
    Entry,
    GalleryInfo,
    Keep,
    ModelIdentity,
    NewEntry,
    Verified,
    Where,
)
from crosscam.gallery.entry_tables import export_entries
from crosscam.gallery.found import Hits, SearchResult
from crosscam.gallery.maintenance import backup, verify
from crosscam.gallery.rows import Floats, check_descriptors
from crosscam.gallery.searching import SearchChanges, Searcher, SearchOptions, search_options
from crosscam.gallery.snapshot import NONE
from crosscam.gallery.store import SEGMENT_ROWS, TRIES, Store
from crosscam.models.output import Layout
from crosscam.system.text import read_span


class LocalGallery:
    """A folder with a SQLite database and segment files; see :class:`crosscam.gallery.Gallery` for what it does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._searcher = Searcher(store)

    @classmethod
    def create(
        cls, folder: Path, layout: Layout, model: ModelIdentity, *, segment_rows: int = SEGMENT_ROWS
    ) -> LocalGallery:
        """A new gallery, open for writing; ``segment_rows`` is the number of entries in a file."""
        check_layout(layout)
        Store.create(folder, layout, model, segment_rows)
        return cls.open(folder, write=True)

    @classmethod
    def open(cls, folder: Path, *, write: bool = False) -> LocalGallery:
        """An existing gallery."""
        return cls(Store(folder, write=write))

    @property
    def model(self) -> ModelIdentity:
        """What made the descriptors."""
        return self._store.model

    @property
    def layout(self) -> Layout:
        """The named blocks of a descriptor."""
        return self._store.layout

    @property
    def dim(self) -> int:
        """D, length of a descriptor."""
        return self.layout[-1].stop

    def __len__(self) -> int:
        return len(self._store.snapshot())

    def __repr__(self) -> str:
        try:
            entries = f"{len(self):,} entries"
        except GalleryError:
            entries = "closed"
        model = self.model
        return f"LocalGallery({str(self._store.folder)!r}, {entries}, {model.name!r}, {model.fingerprint[:4]}...)"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back files and locks."""
        self._store.close()

    def check_model(self, fingerprint: str) -> None:
        """Refuse another model."""
        check_model(self.model, fingerprint, str(self._store.folder))

    def add(
        self,
        descriptors: Floats,
        entries: Sequence[NewEntry],
        thumbnails: Sequence[bytes | None] | None = None,
        *,
        model: str,
    ) -> list[int]:
        """Add pictures, durably."""
        self._store.must_write()
        self.check_model(model)
        rows = check_descriptors(descriptors, self.layout, "descriptors")
        pictures = [None] * len(entries) if thumbnails is None else list(thumbnails)
        writing.refuse_new(entries, pictures, len(rows))
        return writing.add(self._store, rows, entries, pictures) if len(rows) else []

    def search(
        self,
        descriptors: Floats,
        options: SearchOptions | int | None = None,
        *,
        model: str,
        **changes: Unpack[SearchChanges],
    ) -> SearchResult:
        """The nearest entries of each query."""
        self.check_model(model)
        queries = check_descriptors(descriptors, self.layout, "queries")
        found = self._searcher.search(queries, search_options(options, changes))
        return SearchResult(Hits(hits, self.thumbnails) for hits in found)

    def entries(self, where: Where = EVERYTHING, *, start: int = 0, limit: int | None = None) -> list[Entry]:
        """Entries by rising id."""
        ids = self.ids(where)[start : None if limit is None else start + limit]
        with self._store.turn():
            found = self._store.database.entries(ids)
        return [found[i] for i in ids if i in found]

    def ids(self, where: Where = EVERYTHING) -> list[int]:
        """Ids of the chosen entries, rising."""
        found: list[int] = self._store.snapshot().ids(where).tolist()
        return found

    def get(self, ids: Sequence[int]) -> list[Entry]:
        """Entries by id."""
        return self._store.entries(ids)

    def known_paths(self, paths: Iterable[str]) -> dict[str, float]:
        """Those of some paths that entries have, and when they were added."""
        with self._store.turn():
            return self._store.database.known_paths(paths)

    def descriptors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """(N, D) descriptors by id."""
        for _ in range(TRIES):
            snapshot = self._store.snapshot()
            slots = self._store.slots(ids)
            if not np.isin(ids, snapshot.columns["id"]).all():  # added between the two looks
                continue
            rows = snapshot.rows(snapshot.places(np.asarray(ids, np.int64))) if len(ids) else np.empty((0, self.dim))
            if self._store.generation() == snapshot.generation:
                for row, slot in zip(rows, slots, strict=True):
                    self._check(row.tobytes(), slot[5], slot[0], "descriptor")
                return np.ascontiguousarray(rows[:, : self.dim], np.float32)
        raise GalleryError(f"{self._store.folder} is being changed without a pause. Try again later.")

    def thumbnails(self, ids: Sequence[int]) -> list[bytes | None]:
        """Thumbnails by id."""
        for _ in range(TRIES):
            generation = self._store.generation()
            slots = self._store.slots(ids)
            try:
                found = [
                    None if at is None or size is None else self._store.files.thumbnail(number, at, size)
                    for _, number, _, at, size, _, _ in slots
                ]
            except FileNotFoundError:  # compacted away meanwhile
                continue
            if self._store.generation() == generation:
                for thumbnail, slot in zip(found, slots, strict=True):
                    if thumbnail is not None:
                        self._check(thumbnail, slot[6], slot[0], "thumbnail")
                return found
        raise GalleryError(f"{self._store.folder} is being changed without a pause. Try again later.")

    def _check(self, data: bytes, crc: int | None, id_: int, what: str) -> None:
        if zlib.crc32(data) != crc:
            raise GalleryError(
                f"{self._store.folder}: the {what} of entry {id_} is not what was added (checksum). Forget the entry "
                "and add it again, or restore the gallery from a backup."
            )

    def update(
        self,
        ids: Sequence[int],
        *,
        path: str | Keep = KEEP,
        pid: int | Keep | None = KEEP,
        camid: int | Keep = KEEP,
        time: float | Keep | None = KEEP,
        track: str | Keep | None = KEEP,
    ) -> int:
        """Give entries other data."""
        self._store.must_write()
        changes = writing.checked_changes(path=path, pid=pid, camid=camid, time=time, track=track)
        if not changes or not len(ids):
            return 0
        return writing.update(self._store, [whole_number(i, "id") for i in ids], changes)

    def forget(self, where: Where) -> int:
        """Remove entries for good."""
        self._store.must_write()
        if where.everything:
            raise ArgumentError(
                "Nothing says what to forget. Give a condition; all is forgotten by deleting the gallery."
            )
        self._searcher.drop()
        return writing.forget(self._store, where)

    def expire(self, keep: str, *, by: Literal["added", "time"] = "added", now: float | None = None) -> int:
        """Forget what is older than ``keep``."""
        return self.forget(older_than(keep, by, now))

    def compact(self) -> int:
        """Give the places of forgotten entries back to the disk."""
        self._store.must_write()
        return writing.compact(self._store)

    def info(self) -> GalleryInfo:
        """Counts, sizes, model, layout."""
        snapshot = self._store.snapshot()
        columns = snapshot.columns
        cameras, counts = np.unique(columns["camid"], return_counts=True)
        times = columns["time"][np.isfinite(columns["time"])]
        tracked = columns[columns["track"] != NONE]
        return GalleryInfo(
            place=str(self._store.folder),
            model=self.model,
            layout=self.layout,
            entries=len(snapshot),
            wiped=sum(len(rows) for rows in snapshot.segments.values()) - len(snapshot),
            bytes=writing.size_on_disk(self._store),
            cameras=tuple((int(c), int(n)) for c, n in zip(cameras, counts, strict=True)),
            people=len(np.unique(columns["pid"][columns["pid"] > 0])),
            tracks=len(np.unique(tracked[["camid", "track"]])),
            times=(float(times.min()), float(times.max())) if len(times) else None,
            added=(float(columns["added"].min()), float(columns["added"].max())) if len(columns) else None,
            camera_names=self.camera_names(),
        )

    def verify(self) -> Verified:
        """Read everything and compare it with its checksums."""
        return verify(self._store)

    def export(self, file: Path, where: Where = EVERYTHING) -> int:
        """Write entries as a table."""
        return export_entries(self, file, where)

    def backup(self, folder: Path) -> int:
        """Copy the gallery as it stands."""
        return backup(self._store, folder)

    def camera_names(self) -> dict[int, str]:
        """Names by camid, of those cameras that have one."""
        with self._store.turn():
            return self._store.database.camera_names()

    def name_cameras(self, names: Mapping[int, str | None]) -> None:
        """Give cameras other names."""
        self._store.must_write()
        writing.name_cameras(self._store, names)

    def document(self, name: str) -> Any:
        """A JSON value kept with the gallery."""
        with self._store.turn():
            return self._store.database.document(name)

    def set_document(self, name: str, value: Any) -> None:
        """Keep a JSON value with the gallery."""
        self._store.must_write()
        writing.set_document(self._store, name, value)


def check_layout(layout: Layout) -> None:
    """Refuse a layout whose blocks do not stand side by side from 0 on."""
    ends = [0, *(block.stop for block in layout)]
    names = {block.name for block in layout}
    covers = all(b.start == end and b.dim > 0 for b, end in zip(layout, ends, strict=False))
    if not layout or len(names) < len(layout) or not covers:
        raise ArgumentError("The blocks of a layout must have different names and cover the descriptor once, in order.")


def check_model(model: ModelIdentity, fingerprint: str, place: str) -> None:
    """Refuse descriptors of another model.

    Raises:
        ModelMismatchError: the message says which model built the gallery.
    """
    if fingerprint != model.fingerprint:
        raise ModelMismatchError(
            f"{place} was built with the model {model.name} (fingerprint {model.fingerprint}); these descriptors "
            f"are of {fingerprint}. Describe the pictures with that model, or make a new gallery."
        )


def older_than(keep: str, by: Literal["added", "time"], now: float | None) -> Where:
    """Entries older than ``"30d"``; see :meth:`crosscam.gallery.Gallery.expire`.

    Raises:
        ValueError: not a number and a unit, or an unknown way to count.
    """
    before = (clock.time() if now is None else now) - seconds(keep)
    if by not in ("added", "time"):
        raise ArgumentError(f"by is {by!r}. Expected 'added' or 'time'.")
    return Where(time_to=math.nextafter(before, -math.inf)) if by == "time" else Where(added_before=before)


def seconds(keep: str) -> float:
    """``"30d"`` in seconds; see :func:`crosscam.system.text.read_span`."""
    return read_span(keep)
