"""A gallery in a folder of this machine; and galleries by place, a folder or the address of a Milvus database."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import GalleryBusyError, GalleryError
from crosscam.gallery import writing
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
from crosscam.gallery.maintenance import backup, verify
from crosscam.gallery.searching import Searcher, SearchOptions
from crosscam.gallery.segments import Rows, check_layout
from crosscam.gallery.snapshot import NONE
from crosscam.gallery.store import SEGMENT_ROWS, TRIES, Store
from crosscam.inference.engines.base import cache_folder
from crosscam.models.output import Layout
from crosscam.system.locks import exclusive
from crosscam.system.text import counted

Place = str | os.PathLike[str]
SCHEMES = ("milvus://", "milvus+lite://", "http://", "https://")


class LocalGallery(Gallery):
    """A folder with a SQLite database and segment files; see :class:`crosscam.gallery.Gallery` for what it does."""

    def __init__(self, store: Store) -> None:
        super().__init__(str(store.folder), store.model, store.layout)
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
    def open(cls, folder: Path, *, write: bool = False, patience: float | None = None) -> LocalGallery:
        """An existing gallery; a writer waits ``patience`` seconds for another one, else a few."""
        return cls(Store(folder, write=write, patience=patience))

    def __len__(self) -> int:
        return len(self._store.snapshot())

    def __repr__(self) -> str:
        try:
            entries = counted(len(self), "entry")
        except GalleryError:
            entries = "closed"
        model = self.model
        return f"LocalGallery({str(self._store.folder)!r}, {entries}, {model.name!r}, {model.fingerprint[:4]}...)"

    def close(self) -> None:
        """Give back files and locks."""
        self._store.close()

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._store.writable

    def _must_write(self) -> None:
        self._store.must_write()

    def _add(self, rows: Rows, entries: Sequence[NewEntry], thumbnails: Sequence[bytes | None]) -> list[int]:
        return writing.add(self._store, rows, entries, thumbnails)

    def _search(self, queries: Rows, options: SearchOptions) -> Sequence[Sequence[Hit]]:
        return self._searcher.search(queries, options)

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

    def known_paths(self, paths: Iterable[str]) -> dict[str, Entry]:
        """Those of some paths that entries have, with the newest entry of each."""
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

    def _update(self, ids: list[int], changes: dict[str, object]) -> int:
        return writing.update(self._store, ids, changes)

    def _forget(self, where: Where) -> int:
        self._searcher.drop()
        return writing.forget(self._store, where)

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
            times=clock_span(times),
            added=(float(columns["added"].min()), float(columns["added"].max())) if len(columns) else None,
            camera_names=self.camera_names(),
        )

    def verify(self) -> Verified:
        """Read everything and compare it with its checksums."""
        return verify(self._store)

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


def create_gallery(place: Place, layout: Layout, model: ModelIdentity) -> Gallery:
    """A new, empty gallery, opened for writing.

    Args:
        place: a folder that is empty or missing; or ``milvus://host:port/collection``, ``https://...`` or
            ``milvus+lite://FILE.db``.
        layout: the named blocks of the descriptors to come.
        model: what makes them.
    Raises:
        GalleryError: the place is taken or cannot be written.
        ValueError: a layout whose blocks do not cover the descriptor once.
    """
    if is_address(place):
        from crosscam.gallery.milvus import MilvusGallery

        return MilvusGallery.create(str(place), layout, model)
    return LocalGallery.create(Path(place), layout, model)


def open_gallery(place: Place, *, write: bool = False) -> Gallery:
    """An existing gallery.

    Args:
        place: as for :func:`create_gallery`.
        write: take the place of the one writer; another one is given a few seconds to end.
    Raises:
        GalleryBusyError: somebody else is writing it.
        GalleryError: there is none, or it is damaged or of a later version.
    """
    if is_address(place):
        from crosscam.gallery.milvus import MilvusGallery

        return MilvusGallery.open(str(place), write=write)
    return LocalGallery.open(Path(place), write=write)


@contextmanager
def opened_for_writing(gallery: Gallery, *, patience: float | None = None) -> Iterator[Gallery]:
    """A gallery that can be changed: itself; or its place, opened for this block, where it was opened for reading.

    What the block acknowledges, the gallery itself sees at its next call.

    Args:
        gallery: opened.
        patience: seconds to wait for another writer of a folder; None for a few.
    Raises:
        GalleryBusyError: somebody else is writing it.
    """
    if gallery.writable:
        yield gallery
        return
    with (
        open_gallery(gallery.place, write=True)
        if is_address(gallery.place)
        else LocalGallery.open(Path(gallery.place), write=True, patience=patience)
    ) as writer:
        yield writer


@contextmanager
def working_alone(gallery: Gallery, work: str, doing: str, *, wait: float = 0.0) -> Iterator[None]:
    """Keep other calls from the same ``work`` on a gallery (``doing``: in words), which they can use meanwhile.

    Raises:
        GalleryBusyError: another call does it; the message says which.
        GalleryError: nothing can be written there.
    """
    place = Path(gallery.place)
    if is_address(gallery.place):
        place = cache_folder() / "locks" / hashlib.sha256(gallery.place.encode()).hexdigest()[:16]
    with exclusive(
        place / f"{work}.lock",
        lambda who: GalleryBusyError(f"{doing} by {who}. Wait until it is done."),
        lambda why: GalleryError(f"{place} cannot be written: {why}. Check who may write there."),
        wait=wait,
    ):
        yield


def is_address(place: Place) -> bool:
    """Whether the place is a database's address."""
    return isinstance(place, str) and place.startswith(SCHEMES)
