"""Building the lists of the approximate search, and measuring how often they hold the true neighbours."""

from __future__ import annotations

import numpy as np

from crosscam.errors import ArgumentError, GalleryError
from crosscam.gallery.inverted import (
    INDEX,
    ROWS_AT_ONCE,
    SAMPLED_PER_LIST,
    InvertedLists,
    assign,
    num_lists,
    train_centres,
)
from crosscam.gallery.records import IndexInfo, Where
from crosscam.gallery.rows import Rows
from crosscam.gallery.scan import Keys, Nearest
from crosscam.gallery.searching import ListedEntries, Request, Searcher
from crosscam.gallery.snapshot import Snapshot
from crosscam.gallery.store import Store

LEAST_ENTRIES = 1000
MEASURED = 200
FIRST = 10


def build_index(store: Store, searcher: Searcher, recall: float, seed: int) -> IndexInfo:
    """See :meth:`crosscam.gallery.Gallery.build_index`."""
    snapshot = store.snapshot()
    if not 0 < recall <= 1:
        raise ArgumentError(f"recall is {recall}. Expected a share above 0, at most 1.")
    if len(snapshot) < LEAST_ENTRIES:
        raise GalleryError(
            f"{store.folder} has {len(snapshot):,} entries. An index is for {LEAST_ENTRIES:,} and more; "
            "the exact search is faster here."
        )
    dim = store.layout[-1].stop
    generator = np.random.default_rng(seed)
    count = num_lists(len(snapshot))
    places = np.sort(generator.permutation(len(snapshot))[: SAMPLED_PER_LIST * count])
    centres = train_centres(np.ascontiguousarray(snapshot.rows(places)[:, :dim]), count, seed)
    lists = InvertedLists(centres, *_assigned(snapshot, centres), IndexInfo(len(centres), 1, len(snapshot), 0.0, 0))

    queries = np.sort(generator.permutation(len(snapshot))[: 2 * MEASURED])
    rows = np.ascontiguousarray(snapshot.rows(queries)[:, :dim])
    truth = searcher.exact(snapshot, rows, FIRST + 1)
    listed = ListedEntries.sort(snapshot, lists, store.layout)
    tuned, held = np.arange(0, len(queries), 2), np.arange(1, len(queries), 2)
    # Half of the allowed loss is kept for queries that nobody has tried yet.
    wanted = 1 - (1 - recall) / 2
    probes = 1
    while probes < len(centres) and _recall(store, listed, queries, rows, truth, tuned, probes) < wanted:
        probes = min(len(centres), max(probes + 1, probes * 5 // 4))
    found = _recall(store, listed, queries, rows, truth, held, probes)
    info = IndexInfo(len(centres), probes, len(snapshot), found, len(held))
    InvertedLists(centres, lists.ids, lists.lists, info).write(store.folder / INDEX)
    return info


def _assigned(snapshot: Snapshot, centres: Rows) -> tuple[Keys, Keys]:
    """Ids, rising, and the list of each."""
    result = np.empty(len(snapshot), np.int64)
    for first in range(0, len(snapshot), ROWS_AT_ONCE):
        places = np.arange(first, min(first + ROWS_AT_ONCE, len(snapshot)))
        result[places] = assign(snapshot.rows(places)[:, : centres.shape[1]], centres)
    return snapshot.columns["id"][snapshot.by_id], result[snapshot.by_id]


def _recall(
    store: Store,
    listed: ListedEntries,
    places: Keys,
    rows: Rows,
    truth: list[Nearest],
    mine: Keys,
    probes: int,
) -> float:
    """Share of the true first ten that the lists hold, the queries' own entries left out of both."""
    request = Request(FIRST + 1, Where(), np.ones(len(store.layout)), approximate=True)
    everything = np.ones(len(listed.snapshot), bool)
    found = listed.search(rows[mine], request, everything, store.layout, probes)
    hits = total = 0
    for one, query in zip(found, mine, strict=True):
        true = [key for key in truth[query].keys if key != places[query]][:FIRST]
        hits += len(set(true) & {key for key in one.keys if key != places[query]})
        total += len(true)
    return hits / total
