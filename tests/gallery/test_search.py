"""The search against the slow way: every result, its order, its distances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from small_gallery import (
    DIM,
    LAYOUT,
    MODEL,
    Filled,
    brute_force,
    distance,
    filled,
    fulfils,
    some_descriptors,
    some_entries,
    unit,
)

from crosscam.errors import ModelMismatchError
from crosscam.gallery import NewEntry, SearchOptions, Where, block_weights, unit_mean
from crosscam.gallery.local import LocalGallery
from crosscam.gallery.searching import SearchChanges
from crosscam.gallery.segments import product_error, query_rows, widen

F = MODEL.fingerprint


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalGallery, Filled]]:
    """A gallery of four segments in which some entries were forgotten."""
    gallery, data = filled(tmp_path_factory.mktemp("search") / "g")
    gone = {data.ids[i] for i in (3, 40, 41, 77)}
    gallery.forget(Where(ids=tuple(gone)))
    kept = [i for i, id_ in enumerate(data.ids) if id_ not in gone]
    yield (
        gallery,
        Filled(
            [data.ids[i] for i in kept],
            data.descriptors[kept],
            [data.entries[i] for i in kept],
            [data.thumbnails[i] for i in kept],
        ),
    )
    gallery.close()


times = st.none() | st.integers(0, 1300).map(float)
chosen = st.none() | st.lists(st.integers(0, 30), max_size=6).map(tuple)
wheres = st.builds(
    Where,
    ids=st.none() | st.lists(st.integers(1, 120), max_size=60).map(tuple),
    not_ids=chosen,
    pids=st.none() | st.lists(st.integers(0, 24), max_size=12).map(tuple),
    not_pids=chosen,
    camids=st.none() | st.lists(st.integers(0, 4), max_size=3).map(tuple),
    not_camids=st.none() | st.lists(st.integers(0, 4), max_size=2).map(tuple),
    tracks=st.none() | st.lists(st.sampled_from([f"track {i}" for i in range(12)]), max_size=8).map(tuple),
    not_tracks=st.none() | st.lists(st.sampled_from(["track 1", "track 5", "no such"]), max_size=2).map(tuple),
    time_from=times,
    time_to=times,
)
factors = st.none() | st.dictionaries(
    st.sampled_from(["head", "torso", "legs", "feet", "whole", "p2.local2"]), st.sampled_from([0.0, 0.5, 1.0, 3.0])
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=wheres, weights=factors, k=st.integers(1, 130), seed=st.integers(0, 50), own=st.booleans())
def test_the_same_as_brute_force(
    opened: tuple[LocalGallery, Filled],
    where: Where,
    weights: dict[str, float] | None,
    k: int,
    seed: int,
    own: bool,
) -> None:
    gallery, data = opened
    try:
        block_weights(weights, LAYOUT)
    except ValueError:  # these leave nothing to compare
        reject()
    queries = data.descriptors[[seed, seed + 9]] if own else some_descriptors(2, seed + 1000)
    found = gallery.search(queries, k, model=F, where=where, weights=weights)
    for query, hits in zip(queries, found, strict=True):
        expected = brute_force(query, data, k, where, weights)
        assert [hit.entry.id for hit in hits] == [id_ for id_, _ in expected]
        np.testing.assert_allclose([hit.distance for hit in hits], [d for _, d in expected], atol=1e-7)
        np.testing.assert_allclose([hit.contributions.sum() for hit in hits], [d * d for _, d in expected], atol=1e-7)


def test_many_queries_are_the_single_ones(opened: tuple[LocalGallery, Filled]) -> None:
    gallery, _ = opened
    queries = some_descriptors(300, 5)
    together = gallery.search(queries, 7, model=F)
    for query, hits in zip(queries, together, strict=True):
        alone = gallery.search(query[None], 7, model=F)[0]
        assert [(h.entry.id, h.distance) for h in hits] == [(h.entry.id, h.distance) for h in alone]


def test_a_hundred_equal_images_rank_by_id(tmp_path: Path) -> None:
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL, segment_rows=16) as gallery:
        rows = np.repeat(some_descriptors(1), 100, axis=0)
        ids = gallery.add(rows, some_entries(100), model=F)
        hits = gallery.search(rows[:1], 30, model=F)[0]
        assert [hit.entry.id for hit in hits] == ids[:30]
        assert {hit.distance for hit in hits} == {0.0}


def test_order_that_float32_products_do_not_tell(tmp_path: Path) -> None:
    """Entries closer together than a float32 product can tell still come in their true order."""
    generator = np.random.default_rng(0)
    query = unit(generator.standard_normal((1, DIM)))
    rows = unit(query + 2e-4 * generator.standard_normal((400, DIM)))
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL, segment_rows=64) as gallery:
        ids = gallery.add(rows, some_entries(400), model=F)
        data = Filled(ids, rows, some_entries(400), [None] * 400)
        found = [hit.entry.id for hit in gallery.search(query, 25, model=F)[0]]
        assert found == [id_ for id_, _ in brute_force(query[0], data, 25)]
        products = widen(rows, LAYOUT) @ query_rows(query, np.ones(3), LAYOUT)[0]
        assert [ids[i] for i in np.argsort(-products, kind="stable")[:25]] != found


def test_the_margin_holds_for_long_descriptors() -> None:
    generator = np.random.default_rng(1)
    layout = (type(LAYOUT[0])("all", 0, 1792, 1, "global", (0.0, 1.0)),)
    rows, query = (unit(generator.standard_normal((n, 1792))) for n in (2000, 1))
    products = (widen(rows, layout) @ query_rows(query, np.ones(1), layout)[0]).astype(np.float64)
    squares = np.square(rows.astype(np.float64) - query.astype(np.float64)).sum(axis=1)
    errors = products - (np.square(query.astype(np.float64)).sum() - squares)
    assert np.ptp(errors) <= product_error(np.ones(1), layout)


def test_pooled_tracks_are_means(opened: tuple[LocalGallery, Filled]) -> None:
    gallery, data = opened
    where, weights = Where(camids=(0, 1, 3)), {"torso": 2.0, "whole": 0.5}
    groups: dict[object, list[int]] = {}
    for i, (entry, id_) in enumerate(zip(data.entries, data.ids, strict=True)):
        if fulfils(entry, id_, where):
            groups.setdefault((entry.camid, entry.track) if entry.track else id_, []).append(i)
    query = some_descriptors(1, 77)[0]
    expected = []
    for members in groups.values():
        mean = unit_mean(data.descriptors[members])[0] if len(members) > 1 else data.descriptors[members[0]]
        nearest = min(members, key=lambda i: (distance(query, data.descriptors[i], weights), data.ids[i]))
        expected.append((distance(query, mean, weights), data.ids[nearest], len(members)))
    expected.sort()
    for _ in range(2):  # the second time from what the first one kept
        hits = gallery.search(query[None], 12, model=F, where=where, weights=weights, pool_tracks=True)[0]
        assert [(hit.entry.id, hit.pooled) for hit in hits] == [(id_, count) for _, id_, count in expected[:12]]
        np.testing.assert_allclose([hit.distance for hit in hits], [d for d, _, _ in expected[:12]], atol=1e-6)


def test_several_images_are_one_query(opened: tuple[LocalGallery, Filled]) -> None:
    gallery, data = opened
    query = unit_mean(data.descriptors[:3])
    assert np.linalg.norm(query) == pytest.approx(1)
    np.testing.assert_allclose(query[0], unit(data.descriptors[:3].mean(axis=0, keepdims=True))[0], atol=1e-6)
    assert len(gallery.search(query, 5, model=F)[0]) == 5
    with pytest.raises(ValueError, match="cancel out"):
        unit_mean(np.stack([data.descriptors[0], -data.descriptors[0]]))


def test_reranking_changes_the_first_hits_alone(opened: tuple[LocalGallery, Filled]) -> None:
    from crosscam.retrieval.reranking import rerank

    gallery, _ = opened
    query = some_descriptors(1, 3)
    plain = gallery.search(query, 40, model=F)[0]
    again = gallery.search(query, 40, model=F, rerank_first=25)[0]
    near = gallery.descriptors([hit.entry.id for hit in plain[:25]])
    distances = rerank(query, near, k1=20, k2=6)[0]
    assert [hit.entry.id for hit in again[:25]] == [plain[i].entry.id for i in np.argsort(distances, kind="stable")]
    assert [hit.reranked for hit in again[:25]] == sorted(float(d) for d in distances)
    assert [hit.entry.id for hit in again[25:]] == [hit.entry.id for hit in plain[25:]]
    assert {hit.reranked for hit in again[25:]} == {None}
    short = gallery.search(query, 5, model=F, rerank_first=25)[0]
    assert [hit.entry.id for hit in short] == [hit.entry.id for hit in again[:5]]


def test_an_empty_gallery_and_an_empty_choice(tmp_path: Path) -> None:
    query = some_descriptors(2)
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL) as gallery:
        for pooled in (False, True):
            assert gallery.search(query, 3, model=F, pool_tracks=pooled, rerank_first=3) == [[], []]
        assert gallery.add(query[:0], [], model=F) == []
        gallery.add(query, some_entries(2), model=F)
        assert gallery.search(query, 3, model=F, where=Where(camids=(9,)), rerank_first=2) == [[], []]
        assert len(gallery.search(query, 3, model=F, rerank_first=9)[0]) == 2


def test_what_a_search_refuses(opened: tuple[LocalGallery, Filled]) -> None:
    gallery, data = opened
    query = data.descriptors[:1]
    with pytest.raises(ModelMismatchError, match=r"built with the model small in runs/small .*are of bb"):
        gallery.search(query, model="bb")
    with pytest.raises(ValueError, match=r"must be \(N, 16\)"):
        gallery.search(query[:, :5], model=F)
    with pytest.raises(ValueError, match="has length 2"):
        gallery.search(2 * query, model=F)
    with pytest.raises(ValueError, match="has length nan"):
        gallery.search(np.nan * query, model=F)
    with pytest.raises(ValueError, match="k >= 1"):
        gallery.search(query, 0, model=F)
    with pytest.raises(ValueError, match="No body part or block 'arm'"):
        gallery.search(query, model=F, weights={"arm": 1})


def test_options_and_keywords_ask_the_same(opened: tuple[LocalGallery, Filled]) -> None:
    gallery, data = opened
    assert {f.name for f in fields(SearchOptions)} == set(SearchChanges.__annotations__)
    query, where = data.descriptors[:1], Where(camids=(1, 2))
    options = SearchOptions(7, where, {"torso": 2.0}, pool_tracks=True, rerank_first=5)
    found = [
        gallery.search(query, options, model=F),
        gallery.search(query, 7, model=F, where=where, weights={"torso": 2.0}, pool_tracks=True, rerank_first=5),
        gallery.search(query, SearchOptions(3, where, {"torso": 2.0}, True), model=F, k=7, rerank_first=5),
    ]
    told = [[(hit.entry.id, hit.distance, hit.reranked, hit.pooled) for hit in hits[0]] for hits in found]
    assert told[0] == told[1] == told[2]
    assert SearchOptions(weights={"torso": 1.0}).keeps_distances
    assert not options.keeps_distances


def test_known_paths_are_those_of_entries(opened: tuple[LocalGallery, Filled]) -> None:
    gallery, data = opened
    odd = ['it\'s "odd".jpg', "pictures/99999.jpg", ""]
    known = {entry.path for entry in gallery.entries()}
    paths = [entry.path for entry in data.entries[:50]]
    found = gallery.known_paths(paths + odd)
    assert set(found) == set(paths) == known & set(paths)
    entries = {entry.path: entry for entry in gallery.entries()}
    assert all(entry == entries[path] for path, entry in found.items())
    assert gallery.known_paths([]) == {}


def test_a_track_is_of_one_camera_and_of_the_entries_that_are_chosen(tmp_path: Path) -> None:
    rows = some_descriptors(4)
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL) as gallery:
        entries = [NewEntry(f"{n}.jpg", camid, track="t") for n, camid in enumerate((1, 1, 2, 2))]
        gallery.add(rows, entries, model=MODEL.fingerprint)

        def cameras(where: Where) -> list[tuple[int, int]]:
            (hits,) = gallery.search(rows[:1], model=MODEL.fingerprint, where=where, pool_tracks=True)
            return sorted((hit.entry.camid, hit.pooled) for hit in hits)

        assert cameras(Where(camids=(2,))) == [(2, 2)]
        assert cameras(Where()) == [(1, 2), (2, 2)]
        assert cameras(Where(not_ids=(1,))) == [(1, 1), (2, 2)]


def test_spans_of_time_hold_their_ends_and_no_entry_without_a_time(tmp_path: Path) -> None:
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL) as gallery:
        entries = [NewEntry(f"{n}.jpg", 1, time=time) for n, time in enumerate((10.0, 20.0, None))]
        assert gallery.add(some_descriptors(3), entries, model=MODEL.fingerprint) == [1, 2, 3]
        assert gallery.ids(Where(time_from=10.0)) == gallery.ids(Where(time_to=20.0)) == [1, 2]
        assert gallery.ids(Where(time_from=20.0)) == gallery.ids(Where(time_from=10.1)) == [2]
        assert gallery.ids(Where(time_to=10.0)) == [1]
