"""What a gallery can do, wherever it lies."""

from __future__ import annotations

import math
import time as clock
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from crosscam.data.labels import whole_number
from crosscam.errors import ArgumentError, ModelMismatchError
from crosscam.gallery.conditions import refuse_undated
from crosscam.gallery.entries import (
    EVERYTHING,
    KEEP,
    Entry,
    GalleryInfo,
    Hit,
    Keep,
    ModelIdentity,
    NewEntry,
    Verified,
    Where,
    refuse_new,
)
from crosscam.gallery.found import Hits, SearchResult, export_entries
from crosscam.gallery.searching import SearchChanges, SearchOptions, search_options
from crosscam.gallery.segments import Floats, Rows, check_descriptors
from crosscam.models.output import Layout
from crosscam.system.text import read_span


class Gallery(ABC):
    """Descriptors of persons with their cameras, times and tracks.

    One object may be used by several threads. Verbs that change the gallery need it opened for writing; there is one
    writer at a time and any number of readers, which see what the writer has acknowledged, without being opened again.

    Attributes:
        model: what made the descriptors.
        layout: the named blocks of a descriptor.
        place: its folder or address.
    """

    def __init__(self, place: str, model: ModelIdentity, layout: Layout) -> None:
        self.place, self.model, self.layout = place, model, layout

    @property
    def dim(self) -> int:
        """D, length of a descriptor."""
        return self.layout[-1].stop

    @abstractmethod
    def __len__(self) -> int:
        """Entries."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Give back files and locks; a second call does nothing."""

    def check_model(self, fingerprint: str) -> None:
        """Refuse another model.

        Raises:
            ModelMismatchError: descriptors of another model than the gallery's.
        """
        if fingerprint != self.model.fingerprint:
            raise ModelMismatchError(
                f"{self.place} was built with the model {self.model.name} (fingerprint {self.model.fingerprint}); "
                f"these descriptors are of {fingerprint}. Describe the images with that model, or make a new gallery."
            )

    @property
    @abstractmethod
    def writable(self) -> bool:
        """Whether it was opened for writing."""

    @abstractmethod
    def _must_write(self) -> None:
        """Refuse a change to a gallery that was opened for reading."""

    def add(
        self,
        descriptors: Floats,
        entries: Sequence[NewEntry],
        thumbnails: Sequence[bytes | None] | None = None,
        *,
        model: str,
    ) -> list[int]:
        """Add images: all of them or none. When this returns they survive a crash and a power failure.

        One call costs a few flushes of the disk, however many images it brings: add hundreds at a time.

        Args:
            descriptors: (N, D) rows of length 1.
            entries: N.
            thumbnails: N small images as bytes (JPEG or WebP), None where there is none; None for none at all.
            model: fingerprint of the model that made the descriptors.
        Returns:
            The N ids, rising.
        Raises:
            ModelMismatchError: descriptors of another model.
            GalleryError: not opened for writing, or the disk is full; nothing was added.
            ValueError: counts or shapes that do not fit, a row that is not finite or not of length 1.
        """
        self._must_write()
        self.check_model(model)
        rows = check_descriptors(descriptors, self.layout, "descriptors")
        images = [None] * len(entries) if thumbnails is None else list(thumbnails)
        refuse_new(entries, images, len(rows))
        return self._add(rows, entries, images) if len(rows) else []

    @abstractmethod
    def _add(self, rows: Rows, entries: Sequence[NewEntry], thumbnails: Sequence[bytes | None]) -> list[int]:
        """Add what was checked, at least one row."""

    def search(
        self,
        descriptors: Floats,
        options: SearchOptions | int | None = None,
        *,
        model: str,
        **changes: Unpack[SearchChanges],
    ) -> SearchResult:
        """The nearest entries of each query, exactly, nearest first; equal distances rank by id.

        Args:
            descriptors: (Q, D). Several images of one person are one query by :func:`crosscam.gallery.unit_mean`.
            options: how to search; a number alone is the hits for each query.
            model: fingerprint of the model that made the descriptors.
            changes: fields of :class:`crosscam.gallery.SearchOptions` by name, in place of those of ``options``.
        Returns:
            Q lists of up to k hits, see :mod:`crosscam.gallery.found`. Where tracks are pooled, entries without a
            track stand for themselves.
        Raises:
            ModelMismatchError: descriptors of another model.
            GalleryError: damaged files.
            ValueError: shapes or numbers out of range, an unknown part.
        """
        self.check_model(model)
        queries = check_descriptors(descriptors, self.layout, "queries")
        found = self._search(queries, search_options(options, changes))
        return SearchResult(Hits(hits, self.thumbnails) for hits in found)

    @abstractmethod
    def _search(self, queries: Rows, options: SearchOptions) -> Sequence[Sequence[Hit]]:
        """The hits of each query."""

    @abstractmethod
    def entries(self, where: Where = EVERYTHING, *, start: int = 0, limit: int | None = None) -> list[Entry]:
        """Entries by rising id, from the ``start``-th on."""

    @abstractmethod
    def ids(self, where: Where = EVERYTHING) -> list[int]:
        """Their ids, rising."""

    @abstractmethod
    def get(self, ids: Sequence[int]) -> list[Entry]:
        """Entries by id, in the order of the ids.

        Raises:
            GalleryError: an id that is not in the gallery, perhaps forgotten.
        """

    @abstractmethod
    def known_paths(self, paths: Iterable[str]) -> dict[str, Entry]:
        """Those of some paths that entries have, with the newest entry of each."""

    @abstractmethod
    def descriptors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """(N, D) descriptors by id, in the order of the ids; errors as in :meth:`get`."""

    @abstractmethod
    def thumbnails(self, ids: Sequence[int]) -> list[bytes | None]:
        """Thumbnails by id, as they were added; None where there is none; errors as in :meth:`get`."""

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
        """Give entries other data: all of them or none, durable on return.

        Returns:
            Entries changed.
        Raises:
            GalleryError: an unknown id, or not opened for writing.
        """
        self._must_write()
        given = {"path": path, "pid": pid, "camid": camid, "time": time, "track": track}
        changes: dict[str, object] = {name: value for name, value in given.items() if not isinstance(value, Keep)}
        refuse_new([NewEntry(**{"path": "", "camid": 0, **changes})], [None], 1)  # type: ignore[arg-type]
        return self._update([whole_number(i, "id") for i in ids], changes) if changes and len(ids) else 0

    @abstractmethod
    def _update(self, ids: list[int], changes: dict[str, object]) -> int:
        """Give entries checked data; entries changed."""

    def forget(self, where: Where) -> int:
        """Remove entries for good: when this returns, no byte of their descriptors and thumbnails is in the folder.

        Returns:
            Entries forgotten.
        Raises:
            ValueError: no condition is set; everything is forgotten by deleting the gallery.
            GalleryError: not opened for writing.
        """
        self._must_write()
        if where.everything:
            raise ArgumentError(
                "Nothing says what to forget. Give a condition; all is forgotten by deleting the gallery."
            )
        return self._forget(where)

    @abstractmethod
    def _forget(self, where: Where) -> int:
        """Remove the entries of a condition."""

    def expire(self, keep: str, *, by: Literal["added", "time"] = "added", now: float | None = None) -> int:
        """Forget what is older than ``keep``.

        Args:
            keep: a number and ``s``, ``m``, ``h``, ``d`` or ``w``, such as ``"30d"``.
            by: what the age counts from: when the entry came in, or its own time; entries without a time stay.
            now: seconds of the Unix epoch; the present by default.
        Returns:
            Entries forgotten.
        Raises:
            ValueError: not a number and a unit, or an unknown way to count.
            GalleryError: by times that are not dates.
        """
        before = (clock.time() if now is None else now) - read_span(keep)
        if by not in ("added", "time"):
            raise ArgumentError(f"by is {by!r}. Expected 'added' or 'time'.")
        if by == "time":
            where = Where(time_to=math.nextafter(before, -math.inf))
            refuse_undated(self, where)
            return self.forget(where)
        return self.forget(Where(added_before=before))

    @abstractmethod
    def compact(self) -> int:
        """Give the places of forgotten entries back to the disk; bytes freed. Readers go on meanwhile."""

    @abstractmethod
    def info(self) -> GalleryInfo:
        """Counts, sizes, model, layout."""

    @abstractmethod
    def verify(self) -> Verified:
        """Read everything and compare it with its checksums."""

    def export(self, file: Path, where: Where = EVERYTHING) -> int:
        """Write entries as a table with the columns id, path, pid, camid, camera, time, track, added, descriptor.

        Args:
            file: .parquet, or .npz of one array for each column.
            where: which entries.
        Returns:
            Entries written.
        """
        return export_entries(self, file, where)

    @abstractmethod
    def backup(self, folder: Path) -> int:
        """Copy the gallery as it stands into an empty folder, itself a gallery; entries copied.

        Raises:
            GalleryError: the folder is taken, or a writer is at work.
        """

    @abstractmethod
    def camera_names(self) -> dict[int, str]:
        """Names by camid, of those cameras that have one. A name goes with the last entry of its camera."""

    @abstractmethod
    def name_cameras(self, names: Mapping[int, str | None]) -> None:
        """Give cameras names, or other names; None takes one away. A name that is replaced leaves no byte.

        Raises:
            GalleryError: not opened for writing.
            ValueError: a camera without entries, or a name that another camera has.
        """

    @abstractmethod
    def document(self, name: str) -> Any:
        """A JSON value kept with the gallery, such as its calibration; None where there is none."""

    @abstractmethod
    def set_document(self, name: str, value: Any) -> None:
        """Keep a JSON value with the gallery, durable on return; None removes it."""
