"""How to search a gallery, and the search of a gallery's folder: exact, pooled, re-ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, GalleryBusyError, GalleryError
from crosscam.gallery.entries import EVERYTHING, Hit, Where
from crosscam.gallery.scan import Chunk, Keys, Nearest, nearest, weighted_contributions
from crosscam.gallery.segments import Rows, widen
from crosscam.gallery.snapshot import NONE, Snapshot
from crosscam.gallery.store import TRIES, Store
from crosscam.models.output import Layout
from crosscam.retrieval.contributions import block_weights
from crosscam.retrieval.reranking import rerank

IMAGES_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class PooledTracks:
    """Chosen entries with the images of each track as one.

    A key below N is the place of an entry without a track in the snapshot, N + t is track t.

    Attributes:
        snapshot: the N entries.
        single: (N,) chosen entries without a track.
        means: (T, D + L) rows of the tracks.
        members: (M,) places of the tracks' images, track by track, by rising id.
        offsets: (T + 1,) track t has ``members[offsets[t]:offsets[t + 1]]``.
    """

    snapshot: Snapshot
    single: NDArray[np.bool_]
    means: Rows
    members: Keys
    offsets: Keys

    def chunks(self) -> Iterator[Chunk]:
        """Keys and rows of all."""
        yield from self.snapshot.chunks(self.single)
        if len(self.means):
            yield len(self.snapshot) + np.arange(len(self.means)), lambda: (self.means,)

    def rows(self, keys: Keys) -> Rows:
        """(n, D + L) rows."""
        result = np.empty((len(keys), self.means.shape[1]), np.float32)
        track = keys >= len(self.snapshot)
        result[track] = self.means[keys[track] - len(self.snapshot)]
        if not track.all():
            result[~track] = self.snapshot.rows(keys[~track])
        return result

    def first_ids(self, keys: Keys) -> Keys:
        """(n,) the lowest id that a key stands for."""
        return np.array([self.snapshot.columns["id"][self.images(key)[0]] for key in keys], np.int64)

    def images(self, key: int) -> Keys:
        """Places of the images that a key stands for, by rising id."""
        track = int(key) - len(self.snapshot)
        if track < 0:
            return np.array([key], np.int64)
        return self.members[self.offsets[track] : self.offsets[track + 1]]


def pool_tracks(snapshot: Snapshot, chosen: NDArray[np.bool_], layout: Layout) -> PooledTracks:
    """Pool the chosen entries; reads all those of tracks once."""
    columns = snapshot.columns
    tracked = chosen & (columns["track"] != NONE)
    places = np.flatnonzero(tracked)
    places = places[np.lexsort((columns["id"][places], columns["track"][places], columns["camid"][places]))]
    camids, tracks = columns["camid"][places], columns["track"][places]
    starts = np.flatnonzero(np.r_[True, (np.diff(camids) != 0) | (np.diff(tracks) != 0)]) if len(places) else places
    offsets = np.r_[starts, len(places)].astype(np.int64)
    dim = layout[-1].stop
    sums = np.zeros((len(starts), dim))
    number = np.repeat(np.arange(len(starts)), np.diff(offsets))
    for first in range(0, len(places), IMAGES_AT_ONCE):
        mine = number[first : first + IMAGES_AT_ONCE]
        rows = snapshot.rows(places[first : first + IMAGES_AT_ONCE])[:, :dim].astype(np.float64)
        within = np.flatnonzero(np.r_[True, np.diff(mine) != 0])
        sums[mine[within]] += np.add.reduceat(rows, within, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # Images that cancel out have no direction; they are far from everybody.
    means = widen((sums / np.maximum(lengths, 1e-12)).astype(np.float32), layout)
    return PooledTracks(snapshot, chosen & ~tracked, means, places, offsets)


Weights = NDArray[np.float64]


@dataclass(frozen=True)
class SearchOptions:
    """How to search a gallery; a field of a plain type is an option of the command line, too."""

    k: int = 20
    """Hits for each query; fewer only where the conditions leave fewer."""
    where: Where = EVERYTHING
    """Which entries to look among."""
    weights: Mapping[str, float] | None = None
    """Body parts or blocks by name, see :func:`crosscam.gallery.block_weights`."""
    pool_tracks: bool = False
    """Count the images of a track at one camera as one, by the mean of their descriptors."""
    rerank_first: int = 0
    """Re-rank this many first hits by their k-reciprocal neighbors."""

    def __post_init__(self) -> None:
        if self.k < 1 or self.rerank_first < 0:
            raise ArgumentError(f"Expected k >= 1 and rerank_first >= 0, found {self.k} and {self.rerank_first}.")

    @property
    def looked_at(self) -> int:
        """Hits that are ranked by distance: those that are given, and those that are re-ranked."""
        return max(self.k, self.rerank_first)

    @property
    def keeps_distances(self) -> bool:
        """Whether the ranking is by plain distances, as a calibration has them."""
        return not self.rerank_first and all(weight == 1 for weight in (self.weights or {}).values())


class SearchChanges(TypedDict, total=False):
    """The fields of :class:`SearchOptions` as keywords."""

    k: int
    where: Where
    weights: Mapping[str, float] | None
    pool_tracks: bool
    rerank_first: int


def search_options(options: SearchOptions | int | None, changes: SearchChanges) -> SearchOptions:
    """The options with the changes; a number stands for k alone."""
    if not isinstance(options, SearchOptions):
        options = SearchOptions() if options is None else SearchOptions(options)
    return replace(options, **changes)


class Searcher:
    """Searches one open folder, and keeps what one search works out for the next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pooled: tuple[tuple[int, Where] | None, PooledTracks | None] = (None, None)

    def search(self, queries: Rows, options: SearchOptions) -> list[list[Hit]]:
        """Hits of each query (Q, D); entries that were forgotten while it looked are not among them.

        Raises:
            GalleryError: as in :meth:`crosscam.gallery.Gallery.search`.
            GalleryBusyError: a writer never ceased to change entries.
        """
        weights = block_weights(options.weights, self._store.layout)
        for _ in range(TRIES):
            snapshot = self._store.snapshot()
            damaged = self._store.unsound(snapshot)
            found = None if damaged else self._hits(snapshot, queries, options, weights)
            # A change that came meanwhile may have wiped rows under the scan: only an undisturbed scan counts.
            if self._store.generation() != snapshot.generation:
                continue
            if damaged:
                raise GalleryError(
                    f"{damaged}: descriptors are not what was added (checksum). 'crosscam gallery verify' names the "
                    "entries: forget them and add them again, or restore the gallery from a backup."
                )
            if found is not None:
                return found
        raise GalleryBusyError(f"{self._store.folder} is being changed without a pause. Search again later.")

    def _hits(
        self, snapshot: Snapshot, queries: Rows, options: SearchOptions, weights: Weights
    ) -> list[list[Hit]] | None:
        layout = self._store.layout
        chosen = snapshot.chosen(options.where)
        if self._pooled[0] and self._pooled[0][0] != snapshot.version:
            self.drop()
        pooled = self._pool(snapshot, chosen, options.where) if options.pool_tracks else None
        ties = pooled.first_ids if pooled else lambda places: snapshot.columns["id"][places]
        chunks = pooled.chunks if pooled else lambda: snapshot.chunks(chosen)
        fetch = pooled.rows if pooled else snapshot.rows
        found = nearest(queries, weights, layout, options.looked_at, chunks, fetch, ties)
        ranked = [
            reranked(q, one, options, weights, layout, fetch(one.keys)) for q, one in zip(queries, found, strict=True)
        ]
        shown = [
            [_image(q, int(key), weights, layout, snapshot, pooled) for key in one.keys]
            for q, (one, _) in zip(queries, ranked, strict=True)
        ]
        ids = sorted({id_ for one in shown for id_, _ in one})
        with self._store.turn():
            entries = self._store.database.entries(ids, checked=True)
        if len(entries) < len(ids):
            return None
        return [
            [
                Hit(entries[id_], float(distance), parts, again, count)
                for (id_, count), distance, parts, again in zip(
                    images, one.distances, one.contributions, changed, strict=True
                )
            ]
            for (one, changed), images in zip(ranked, shown, strict=True)
        ]

    def drop(self) -> None:
        """Keep no means of tracks any longer: somebody in them may have been forgotten."""
        self._pooled = (None, None)

    def _pool(self, snapshot: Snapshot, chosen: NDArray[np.bool_], where: Where) -> PooledTracks:
        key = (snapshot.version, where)
        kept, pooled = self._pooled
        if kept != key or pooled is None:
            pooled = pool_tracks(snapshot, chosen, self._store.layout)
            self._pooled = (key, pooled)
        return pooled


def reranked(
    query: Rows, found: Nearest, options: SearchOptions, weights: Weights, layout: Layout, rows: Rows
) -> tuple[Nearest, list[float | None]]:
    """The first hits in the order of their re-ranked distances, which come with them; then all cut to k."""
    first = min(options.rerank_first, len(found.keys))
    order = np.arange(len(found.keys))
    distances: list[float | None] = [None] * len(order)
    if first > 1:
        factors = np.repeat(np.sqrt(weights), [block.dim for block in layout]).astype(np.float32)
        near = rows[:first, : layout[-1].stop] * factors
        k1 = min(20, first - 1)
        changed = rerank((query * factors)[None], near, k1=k1, k2=min(6, k1))[0]
        order[:first] = np.argsort(changed, kind="stable")
        distances[:first] = [float(changed[place]) for place in order[:first]]
    order = order[: options.k]
    kept = Nearest(found.keys[order], found.contributions[order], found.distances[order])
    return kept, distances[: options.k]


def _image(
    query: Rows, key: int, weights: Weights, layout: Layout, snapshot: Snapshot, pooled: PooledTracks | None
) -> tuple[int, int]:
    """The id to show for a key, and how many images it stands for: of a track, the nearest image."""
    if pooled is None:
        return int(snapshot.columns["id"][key]), 1
    places = pooled.images(key)
    squares = weighted_contributions(query, snapshot.rows(places), weights, layout).sum(axis=1)
    return int(snapshot.columns["id"][places[int(squares.argmin())]]), len(places)
