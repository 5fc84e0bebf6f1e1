"""The same verbs against Milvus Lite; left out where pymilvus with Milvus Lite is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_gallery import (
    LAYOUT,
    MODEL,
    Filled,
    brute_force,
    fulfils,
    some_descriptors,
    some_entries,
    some_thumbnails,
)

from crosscam.errors import GalleryBusyError, GalleryError, ModelMismatchError
from crosscam.gallery import Gallery, Where, create_gallery, open_gallery
from crosscam.gallery.milvus_tables import Address, condition

F = MODEL.fingerprint


def needs_milvus() -> None:
    """Skip where pymilvus or Milvus Lite is missing: they bring pandas, grpc and faiss, too much for every run."""
    for package in ("pymilvus", "milvus_lite"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'crosscam[milvus]'")


def test_addresses() -> None:
    assert Address.parse("milvus://db:19530/people") == Address("http://db:19530", "people")
    assert Address.parse("https://db/people") == Address("https://db", "people")
    assert Address.parse("milvus+lite://a/b.db") == Address("a/b.db", "crosscam")
    for wrong in ("milvus://db:19530", "milvus:///people", "https://db/a b"):
        with pytest.raises(GalleryError, match="not a valid gallery address"):
            Address.parse(wrong)


def test_conditions() -> None:
    assert condition(Where()) == "id >= 0"
    assert condition(Where(camids=(1, 2), not_tracks=('a"b',), time_from=3)) == (
        'id >= 0 and camid in [1, 2] and track not in ["a\\"b"] and time < 8e99 and time >= 3.0'
    )
    assert condition(Where(ids=())) == "id >= 0 and id < 0"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gallery, Filled]]:
    """A gallery in a Milvus Lite file."""
    needs_milvus()
    place = f"milvus+lite://{tmp_path_factory.mktemp('milvus') / 'g.db'}"
    gallery = create_gallery(place, LAYOUT, MODEL)
    rows, entries, thumbnails = some_descriptors(120), some_entries(120), some_thumbnails(120)
    ids = gallery.add(rows[:70], entries[:70], thumbnails[:70], model=F)
    ids += gallery.add(rows[70:], entries[70:], thumbnails[70:], model=F)
    yield gallery, Filled(ids, rows, entries, thumbnails)
    gallery.close()


@pytest.mark.parametrize(
    ("where", "weights"),
    [
        (Where(), None),
        (Where(camids=(1, 3), not_pids=(4, 5)), {"torso": 2.0, "whole": 0.0}),
        (Where(time_from=200.0, time_to=700.0), None),
        (Where(tracks=("track 3", "track 5"), not_ids=(40,)), {"legs": 3.0}),
        (Where(ids=()), None),
    ],
)
def test_the_same_as_brute_force(
    opened: tuple[Gallery, Filled], where: Where, weights: dict[str, float] | None
) -> None:
    gallery, data = opened
    for query in some_descriptors(5, 77):
        hits = gallery.search(query[None], 9, model=F, where=where, weights=weights)[0]
        expected = brute_force(query, data, 9, where, weights)
        assert [hit.entry.id for hit in hits] == [id_ for id_, _ in expected]
        np.testing.assert_allclose([hit.distance for hit in hits], [d for _, d in expected], atol=1e-6)


def test_what_goes_in_comes_out(opened: tuple[Gallery, Filled]) -> None:
    gallery, data = opened
    assert len(gallery) == 120
    assert gallery.ids() == data.ids
    assert [(e.path, e.camid, e.pid, e.time, e.track) for e in gallery.entries()] == [
        (e.path, e.camid, e.pid, e.time, e.track) for e in data.entries
    ]
    assert gallery.thumbnails([9, 5, 5]) == [data.thumbnails[8], data.thumbnails[4], data.thumbnails[4]]
    np.testing.assert_array_equal(gallery.descriptors([9, 5]), data.descriptors[[8, 4]])
    assert gallery.info().entries == 120
    assert gallery.info().cameras == ((0, 30), (1, 30), (2, 30), (3, 30))
    assert gallery.verify().sound
    with pytest.raises(ModelMismatchError):
        gallery.search(data.descriptors[:1], model="other")
    with pytest.raises(GalleryError, match="is in Milvus"):
        gallery.backup(Path("x"))


def test_change_and_forget(tmp_path: Path) -> None:
    needs_milvus()
    place = f"milvus+lite://{tmp_path / 'h.db'}"
    with create_gallery(place, LAYOUT, MODEL) as gallery:
        entries = some_entries(60)
        gallery.add(some_descriptors(60), entries, model=F)
        assert gallery.update([2, 3], pid=None, track="new") == 2
        assert [(e.pid, e.track) for e in gallery.get([2, 3])] == [(None, "new")] * 2
        where = Where(camids=(2,), not_ids=(3,))
        expected = [i + 1 for i, e in enumerate(entries) if fulfils(e, i + 1, where)]
        assert gallery.forget(where) == len(expected)
        with pytest.raises(GalleryError, match="may have been forgotten"):
            gallery.get(expected[:1])
        assert gallery.expire("30d") == 0
        gallery.set_document("calibration", {"a": 1})
        assert gallery.document("calibration") == {"a": 1}
        assert gallery.export(tmp_path / "x.npz") == 60 - len(expected)
        with pytest.raises(GalleryBusyError, match="is being written by process"):
            open_gallery(place, write=True)
        with pytest.raises(GalleryError, match="is taken"):
            create_gallery(place, LAYOUT, MODEL)
    with open_gallery(place) as reader:
        assert len(reader) == 60 - len(expected)
        assert reader.document("calibration") == {"a": 1}
        with pytest.raises(GalleryError, match="open for reading"):
            reader.forget(Where(ids=(1,)))
    with pytest.raises(GalleryError, match="No gallery at"):
        open_gallery(f"milvus+lite://{tmp_path / 'none.db'}")
