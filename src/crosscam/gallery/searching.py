"""The search of a gallery's folder: exact, pooled, approximate, re-ranked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, GalleryBusyError, GalleryError
from crosscam.gallery.inverted import UNLISTED, InvertedLists
from crosscam.gallery.pooling import PooledTracks, pool_tracks
from crosscam.gallery.records import Hit, Where
from crosscam.gallery.rows import Rows, query_rows, widen
from crosscam.gallery.scan import Keys, Nearest, dots, nearest, weighted_contributions
from crosscam.gallery.snapshot import Snapshot
from crosscam.gallery.store import TRIES, Store
from crosscam.models.output import Layout
from crosscam.retrieval.rerank import rerank

Weights = NDArray[np.float64]

# So few are compared in a few milliseconds, whatever the lists say.
LEAST_COMPARED = 4096


@dataclass(frozen=True)
class Request:
    """What is searched for besides the queries.

    Attributes:
        k: hits for each query.
        where: which entries.
        weights: (L,) factors of the blocks.
        pooled: tracks count as one.
        rerank_first: hits to re-rank.
        approximate: look into the likely lists alone.
    """

    k: int
    where: Where
    weights: Weights
    pooled: bool = False
    rerank_first: int = 0
    approximate: bool = False

    def __post_init__(self) -> None:
        if self.k < 1 or self.rerank_first < 0:
            raise ArgumentError(f"Expected k >= 1 and rerank_first >= 0, found {self.k} and {self.rerank_first}.")
        if self.pooled and self.approximate:
            raise ArgumentError("Pooled tracks are searched exactly. Leave one of pool_tracks and approximate out.")


class Searcher:
    """Searches one open folder, and keeps what one search works out for the next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pooled: tuple[tuple[int, Where] | None, PooledTracks | None] = (None, None)
        self._listed: tuple[tuple[int, int] | None, ListedEntries | None] = (None, None)

    def search(self, queries: Rows, request: Request) -> list[list[Hit]]:
        """Hits of each query (Q, D); entries that were forgotten while it looked are not among them.

        Raises:
            GalleryError: as in :meth:`crosscam.gallery.Gallery.search`.
            GalleryBusyError: a writer never ceased to change entries.
        """
        for _ in range(TRIES):
            snapshot = self._store.snapshot()
            found = self._hits(snapshot, queries, request)
            # A change that came meanwhile may have wiped rows under the scan: only an undisturbed scan counts.
            if found is not None and self._store.generation() == snapshot.generation:
                return found
        raise GalleryBusyError(f"{self._store.folder} is being changed without a pause. Search again later.")

    def exact(self, snapshot: Snapshot, queries: Rows, k: int) -> list[Nearest]:
        """Nearest entries among all, by their places."""
        everything = np.ones(len(snapshot), bool)
        return self._plain(snapshot, queries, Request(k, Where(), np.ones(len(self._store.layout))), everything)

    def _hits(self, snapshot: Snapshot, queries: Rows, request: Request) -> list[list[Hit]] | None:
        layout = self._store.layout
        wanted = replace(request, k=max(request.k, request.rerank_first))
        chosen = snapshot.chosen(request.where)
        pooled = self._pool(snapshot, chosen, request) if request.pooled else None
        if pooled:
            found = nearest(queries, request.weights, layout, wanted.k, pooled.chunks, pooled.rows, pooled.first_ids)
        elif request.approximate:
            found = self._approximate(snapshot, queries, wanted, chosen)
        else:
            found = self._plain(snapshot, queries, wanted, chosen)
        fetch = pooled.rows if pooled else snapshot.rows
        ranked = [reranked(q, one, request, layout, fetch(one.keys)) for q, one in zip(queries, found, strict=True)]
        shown = [
            [_picture(q, int(key), request, layout, snapshot, pooled) for key in one.keys]
            for q, (one, _) in zip(queries, ranked, strict=True)
        ]
        ids = sorted({id_ for one in shown for id_, _ in one})
        with self._store.lock:
            entries = self._store.database.entries(ids)
        if len(entries) < len(ids):
            return None
        return [
            [
                Hit(entries[id_], float(distance), parts, again, count)
                for (id_, count), distance, parts, again in zip(
                    pictures, one.distances, one.contributions, changed, strict=True
                )
            ]
            for (one, changed), pictures in zip(ranked, shown, strict=True)
        ]

    def _plain(self, snapshot: Snapshot, queries: Rows, request: Request, chosen: NDArray[np.bool_]) -> list[Nearest]:
        return nearest(
            queries,
            request.weights,
            self._store.layout,
            request.k,
            lambda: snapshot.chunks(chosen),
            snapshot.rows,
            lambda places: snapshot.columns["id"][places],
        )

    def _pool(self, snapshot: Snapshot, chosen: NDArray[np.bool_], request: Request) -> PooledTracks:
        key = (snapshot.version, request.where)
        kept, pooled = self._pooled
        if kept != key or pooled is None:
            pooled = pool_tracks(snapshot, chosen, self._store.layout)
            self._pooled = (key, pooled)
        return pooled

    def _approximate(
        self, snapshot: Snapshot, queries: Rows, request: Request, chosen: NDArray[np.bool_]
    ) -> list[Nearest]:
        listed = self.listed(snapshot)
        if listed is None:
            raise GalleryError(
                f"{self._store.folder} has no index for an approximate search. Build it with 'crosscam gallery index', "
                "or search exactly."
            )
        return listed.search(queries, request, chosen, self._store.layout, listed.lists.info.probes)

    def listed(self, snapshot: Snapshot) -> ListedEntries | None:
        """The entries of a snapshot by list; None without an index."""
        lists = self._store.lists()
        if lists is None:
            return None
        key = (snapshot.version, id(lists))
        kept, listed = self._listed
        if kept != key or listed is None:
            listed = ListedEntries.sort(snapshot, lists, self._store.layout)
            self._listed = (key, listed)
        return listed


@dataclass(frozen=True, eq=False)
class ListedEntries:
    """The entries of a snapshot, list by list.

    Attributes:
        snapshot: the entries.
        lists: the index.
        centres: (C, D + L) rows of the lists' centres.
        order: (N,) places, the unlisted first, then list by list.
        offsets: (C + 2,) list c has ``order[offsets[c + 1]:offsets[c + 2]]``, the unlisted ``order[:offsets[1]]``.
    """

    snapshot: Snapshot
    lists: InvertedLists
    centres: Rows
    order: Keys
    offsets: Keys

    @staticmethod
    def sort(snapshot: Snapshot, lists: InvertedLists, layout: Layout) -> ListedEntries:
        """Sort a snapshot's entries."""
        mine = lists.of(snapshot.columns["id"])
        counts = np.bincount(mine - UNLISTED, minlength=len(lists.centres) + 1)
        order = np.argsort(mine, kind="stable")
        return ListedEntries(snapshot, lists, widen(lists.centres, layout), order, np.r_[0, np.cumsum(counts)])

    def search(
        self, queries: Rows, request: Request, chosen: NDArray[np.bool_], layout: Layout, probes: int
    ) -> list[Nearest]:
        """The nearest among all unlisted entries and those in each query's nearest lists.

        Lists are looked into until as many chosen entries are compared as ``probes`` lists hold in all, so that a
        filter that leaves few of them does not cost recall; a choice of fewer is compared as a whole.
        """
        share = probes / max(1, len(self.lists.centres))
        enough = max(LEAST_COMPARED, request.k, int(share * len(self.snapshot)))
        results = []
        for query, wide in zip(queries, query_rows(queries, request.weights, layout), strict=True):
            lists = np.argsort(-dots(self.centres, wide), kind="stable")
            places = self._gather(lists, enough, chosen)
            chunks = [(places, partial(self.snapshot.pieces, places))] if len(places) else []
            results += nearest(
                query[None],
                request.weights,
                layout,
                request.k,
                lambda chunks=chunks: chunks,  # type: ignore[misc]
                self.snapshot.rows,
                lambda places: self.snapshot.columns["id"][places],
            )
        return results

    def _gather(self, lists: Keys, enough: int, chosen: NDArray[np.bool_]) -> Keys:
        """Places to compare, list by list until there are enough."""
        if np.count_nonzero(chosen) <= enough:
            return np.flatnonzero(chosen)
        parts = [self.order[: self.offsets[1]]]
        parts[0] = parts[0][chosen[parts[0]]]
        count = 0
        for number in lists:
            part = self.order[self.offsets[number + 1] : self.offsets[number + 2]]
            parts.append(part[chosen[part]])
            count += len(parts[-1])
            if count >= enough:
                break
        return np.sort(np.concatenate(parts))


def reranked(
    query: Rows, found: Nearest, request: Request, layout: Layout, rows: Rows
) -> tuple[Nearest, list[float | None]]:
    """The first hits in the order of their re-ranked distances, which come with them; then all cut to k."""
    first = min(request.rerank_first, len(found.keys))
    order = np.arange(len(found.keys))
    distances: list[float | None] = [None] * len(order)
    if first > 1:
        factors = np.repeat(np.sqrt(request.weights), [block.dim for block in layout]).astype(np.float32)
        near = rows[:first, : layout[-1].stop] * factors
        k1 = min(20, first - 1)
        changed = rerank((query * factors)[None], near, k1=k1, k2=min(6, k1))[0]
        order[:first] = np.argsort(changed, kind="stable")
        distances[:first] = [float(changed[place]) for place in order[:first]]
    order = order[: request.k]
    kept = Nearest(found.keys[order], found.contributions[order], found.distances[order])
    return kept, distances[: request.k]


def _picture(
    query: Rows, key: int, request: Request, layout: Layout, snapshot: Snapshot, pooled: PooledTracks | None
) -> tuple[int, int]:
    """The id to show for a key, and how many pictures it stands for: of a track, the nearest picture."""
    if pooled is None:
        return int(snapshot.columns["id"][key]), 1
    places = pooled.pictures(key)
    squares = weighted_contributions(query, snapshot.rows(places), request.weights, layout).sum(axis=1)
    return int(snapshot.columns["id"][places[int(squares.argmin())]]), len(places)
