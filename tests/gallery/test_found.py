"""The hits of a search: in one line, as images in a notebook, and as tables."""

from __future__ import annotations

import base64
import re
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_gallery import DIM, LAYOUT, MODEL, filled, some_descriptors

from crosscam.errors import CrosscamError
from crosscam.gallery import Hits, NewEntry, SearchResult, create_gallery
from crosscam.gallery.local import LocalGallery


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> LocalGallery:
    return filled(tmp_path_factory.mktemp("found") / "people.gallery", 40)[0]


def search(gallery: LocalGallery, k: int = 7) -> SearchResult:
    return gallery.search(some_descriptors(3, seed=5), k, model=MODEL.fingerprint)


def test_a_hit_and_a_gallery_say_what_they_are(gallery: LocalGallery, tmp_path: Path) -> None:
    hit = search(gallery)[0][0]
    entry = hit.entry
    pid = "" if entry.pid is None else f", pid {entry.pid}"
    assert repr(hit) == f"Hit({hit.distance:.3f}, entry {entry.id}, camera {entry.camid}{pid}, {entry.path!r})"
    other, _ = filled(tmp_path / "one.gallery", 3)
    shown = f"LocalGallery({str(tmp_path / 'one.gallery')!r}, 3 entries, 'small in runs/small', aaaa...)"
    assert repr(other) == shown
    other.close()
    assert repr(other) == shown.replace("3 entries", "closed")


def test_hits_are_lists_with_tables(gallery: LocalGallery) -> None:
    found = search(gallery)
    assert found == [list(hits) for hits in found]
    assert isinstance(found[0][:2], Hits)
    assert [hit.entry.id for hit in found[0][:2]] == [hit.entry.id for hit in list(found[0])[:2]]
    pytest.importorskip("pyarrow")
    table = found.to_arrow()
    assert table.column("query").to_pylist() == [0] * 7 + [1] * 7 + [2] * 7
    assert table.column("rank").to_pylist() == [1, 2, 3, 4, 5, 6, 7] * 3
    flat = [hit for hits in found for hit in hits]
    for name in ("id", "path", "camid", "pid", "time", "track"):
        assert table.column(name).to_pylist() == [getattr(hit.entry, name) for hit in flat]
    assert table.column("distance").to_pylist() == [hit.distance for hit in flat]
    assert table.column("reranked").null_count == len(flat)
    assert found[1].to_arrow().column("id").to_pylist() == [hit.entry.id for hit in found[1]]
    assert SearchResult().to_arrow().num_rows == 0


def test_hits_say_a_camera_s_name(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g", 8)
    gallery.name_cameras({1: "Kamera <Süd>"})
    found = search(gallery, 8)
    hit = next(hit for hit in found[0] if hit.entry.camid == 1)
    assert "camera Kamera <Süd>" in repr(hit)
    assert "camera Kamera &lt;Süd&gt;" in found._repr_html_()
    pytest.importorskip("pyarrow")
    assert set(found.to_arrow().column("camera").to_pylist()) == {None, "Kamera <Süd>"}
    gallery.close()


def test_a_table_of_pandas(gallery: LocalGallery) -> None:
    pytest.importorskip("pandas")
    found = search(gallery)
    table = found.to_pandas()
    assert table["pid"].dtype == "Int64"
    pids = [hit.entry.pid for hits in found for hit in hits]
    assert list(table["pid"].isna()) == [pid is None for pid in pids]
    assert list(table["pid"].dropna()) == [pid for pid in pids if pid is not None]
    assert list(found[0].to_pandas()["id"]) == [hit.entry.id for hit in found[0]]


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_a_missing_package_is_one_line(gallery: LocalGallery, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    hits = search(gallery)[0]
    with pytest.raises(CrosscamError, match=f"needs {package}, which is not installed: pip install {package}"):
        hits.to_pandas() if package == "pandas" else hits.to_arrow()


def test_pandas_gets_columns_of_the_right_kinds(gallery: LocalGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(DataFrame=dict, array=lambda values, dtype: (dtype, values))
    monkeypatch.setitem(sys.modules, "pandas", stand_in)
    hits = search(gallery)[0]
    table = hits.to_pandas()
    assert table["pid"] == ("Int64", [hit.entry.pid for hit in hits])
    assert table["path"] == [hit.entry.path for hit in hits]
    times = [np.nan if hit.entry.time is None else hit.entry.time for hit in hits]
    np.testing.assert_array_equal(table["time"], times)


def test_a_notebook_shows_the_thumbnails_and_fetches_nothing(tmp_path: Path) -> None:
    rows, jpeg = some_descriptors(3), b"\xff\xd8\xff\xe0picture"
    place = tmp_path / "people.gallery"
    with create_gallery(place, LAYOUT, MODEL) as gallery:
        entries = [NewEntry("a/<b>&.jpg", 1, 4), NewEntry("a/c.jpg", 2), NewEntry("a/d.jpg", 3)]
        gallery.add(rows, entries, [jpeg, None, b"RIFFpicture"], model=MODEL.fingerprint)
        hits = gallery.search(rows[:1], 3, model=MODEL.fingerprint)[0]
        page = hits._repr_html_()
        # As pickle does, which cannot take an open gallery along.
        copy = deepcopy(hits)
    assert base64.b64encode(jpeg).decode() in page
    assert page.count("<img") == 2
    assert "data:image/webp;base64," in page
    assert "&lt;b&gt;&amp;.jpg" in page
    assert "<b>&" not in page
    assert "camera 1, pid 4" in page
    assert not re.search(r"https?:|src=\"(?!data:)", page)
    assert [hit.entry for hit in copy] == [hit.entry for hit in hits]
    # The gallery is closed: the same without images.
    assert hits._repr_html_().count("<img") == 0
    assert copy._repr_html_().count("camera") == 3
    assert Hits()._repr_html_() == "<p>No hits.</p>"
    assert rows.shape[1] == DIM


def test_a_notebook_shows_the_first_hits_of_many(gallery: LocalGallery) -> None:
    hits = Hits(list(search(gallery, 30)[0]) * 2)
    assert "and 10 more" in hits._repr_html_()
    assert "Query 2" in search(gallery)._repr_html_()
