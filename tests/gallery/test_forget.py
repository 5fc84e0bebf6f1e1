"""Forgetting: no byte of a descriptor or a thumbnail stays in the folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_gallery import LAYOUT, MODEL, Filled, all_bytes, files_with, filled

from crosscam.errors import GalleryError
from crosscam.gallery import Where, open_gallery
from crosscam.gallery.segments import widen
from crosscam.gallery.store import Store

F = MODEL.fingerprint


def traces(folder: Path, data: Filled, gone: list[int], pieces: int = 4) -> list[str]:
    """Files with a stretch of four numbers of a descriptor, with a block's length, or with 12 bytes of a thumbnail."""
    found: list[str] = []
    files = all_bytes(folder)
    others = {data.descriptors[i].tobytes() for i in range(len(data.ids)) if i not in gone}
    for i in gone:
        if data.descriptors[i].tobytes() in others:  # a copy that stays
            continue
        row = widen(data.descriptors[i : i + 1], LAYOUT)[0]
        for start in range(0, len(row) - pieces + 1, pieces):
            found += files_with(files, row[start : start + pieces].tobytes())
        thumbnail = data.thumbnails[i] or b""
        for start in range(0, len(thumbnail) - 12, 12):
            found += files_with(files, thumbnail[start : start + 12])
    return found


def test_forgetting_a_person_leaves_no_byte(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    gallery, data = filled(folder)
    gone = [i for i, entry in enumerate(data.entries) if entry.pid in (4, 5, 13)]
    assert len(traces(folder, data, gone[1:2])) == 10, "the search for traces must find what is there"
    with open_gallery(folder) as reader:
        reader.search(data.descriptors[:1], model=F)
        assert gallery.forget(Where(pids=(4, 5, 13))) == len(gone)
        # Nothing is closed or compacted yet, and a reader is open.
        assert traces(folder, data, gone) == []
        for i in gone:
            assert files_with(all_bytes(folder), data.entries[i].path.encode()) == []
        assert not set(reader.ids()) & {data.ids[i] for i in gone}
        for act in (reader.get, reader.descriptors, reader.thumbnails):
            with pytest.raises(GalleryError, match=f"no entry {data.ids[gone[0]]}. It may have been forgotten"):
                act([data.ids[gone[0]]])
        assert gallery.info().wiped == len(gone)
        kept = [i for i in range(len(data.ids)) if i not in gone]
        assert gallery.compact() > 0
        assert gallery.info().wiped == 0
        assert reader.thumbnails([data.ids[i] for i in kept]) == [data.thumbnails[i] for i in kept]
        np.testing.assert_array_equal(reader.descriptors([data.ids[i] for i in kept]), data.descriptors[kept])
        assert [e.path for e in reader.get([data.ids[i] for i in kept])] == [data.entries[i].path for i in kept]
        assert reader.verify().sound
    gallery.close()
    assert traces(folder, data, gone) == []
    for i in gone:
        assert files_with(all_bytes(folder), data.entries[i].path.encode()) == []


def test_by_id_camera_track_and_time(tmp_path: Path) -> None:
    gallery, data = filled(tmp_path / "g")
    assert gallery.forget(Where(ids=(1, 2, 999))) == 2
    assert gallery.forget(Where(camids=(3,))) == 30
    assert gallery.forget(Where(tracks=("track 2",), not_camids=(0,))) > 0
    left = len(gallery)
    assert gallery.forget(Where(time_from=500.0, time_to=600.0)) == left - len(gallery) > 0
    assert gallery.forget(Where(ids=(1,))) == 0
    assert gallery.verify().sound
    for nothing in (Where(), Where(not_ids=()), Where(not_camids=(), not_tracks=())):
        with pytest.raises(ValueError, match="Nothing says what to forget"):
            gallery.forget(nothing)
    assert gallery.forget(Where(ids=())) == 0
    assert gallery.forget(Where(added_before=9e9)) > 0
    assert (len(gallery), gallery.compact() > 0, len(gallery.info().cameras)) == (0, True, 0)
    # Ids are never given again.
    assert gallery.add(data.descriptors[:1], data.entries[:1], model=F) == [121]
    gallery.close()


def test_names_that_the_database_moved_about_go_as_well(tmp_path: Path) -> None:
    """Cells move between pages as entries change; copies that stay behind are not what SQLite overwrites."""
    gallery, data = filled(tmp_path / "g", 400, segment_rows=64, at_once=100)
    for i in range(1, 400, 3):
        gallery.update([i], path=f"{'long ' * (i % 40)}name-{i:05d}.jpg", track=f"somebody-{i:05d}-{'x' * (i % 50)}")
    gone = tuple(i for i in range(1, 400) if i % 5 != 4)
    gallery.forget(Where(ids=gone))
    files = all_bytes(tmp_path / "g")
    for i in gone:
        names = [data.entries[i - 1].path, f"name-{i:05d}.jpg", f"somebody-{i:05d}"]
        assert [n for n in names if files_with(files, n.encode())] == []
    gallery.close()


@pytest.mark.parametrize("killed", [False, True])
def test_a_name_that_is_taken_back_leaves_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    gallery, data = filled(tmp_path / "g", 40)
    gallery.update(data.ids[:2], path="somebody's name.jpg", track="somebody's track")
    with open_gallery(tmp_path / "g") as reader:
        assert len(reader.ids()) == 40
        changes = {"path": "other.jpg", "track": None}
        if killed:
            with monkeypatch.context() as patch:
                patch.setattr(Store, "wipe", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    gallery.update(data.ids[:2], **changes)
            gallery.close()
            assert files_with(all_bytes(tmp_path / "g"), b"somebody's")
            gallery = open_gallery(tmp_path / "g", write=True)
        else:
            gallery.update(data.ids[:2], **changes)
        assert files_with(all_bytes(tmp_path / "g"), b"somebody's") == []
        assert [e.path for e in reader.get(data.ids[:2])] == ["other.jpg"] * 2
        assert reader.verify().sound
    gallery.close()


def interrupted(store: Store) -> None:
    raise KeyboardInterrupt


def test_feedback_goes_with_the_entries_that_it_names(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g")
    said = [
        {"query": query, "entry": entry, "same": True, "who": "a", "when": "b"}
        for query, entry in (("e3", 4), ("p12ab", 5), ("e6", 3), ("e8", 9))
    ]
    gallery.set_document("feedback", said)
    assert gallery.forget(Where(ids=(3, 5))) == 2
    assert gallery.document("feedback") == said[3:]
    assert files_with(all_bytes(tmp_path / "g"), b"p12ab") == []
    assert gallery.expire("1s", by="time", now=900.0) > 0
    assert gallery.document("feedback") is None
    gallery.close()


def test_answers_go_with_the_entries_that_they_name(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g")
    said = [
        {"first": first, "second": second, "distance": 0.5, "same": same, "who": "a", "when": "b"}
        for first, second, same in ((3, 4, True), (2, 5, None), (6, 9, False))
    ]
    gallery.set_document("answers", said)
    assert gallery.forget(Where(ids=(3, 5))) == 2
    assert gallery.document("answers") == said[2:]
    assert gallery.forget(Where(ids=(9,))) == 1
    assert gallery.document("answers") is None
    gallery.close()


def test_means_of_tracks_are_not_kept(tmp_path: Path) -> None:
    gallery, data = filled(tmp_path / "g")
    gallery.search(data.descriptors[:1], model=F, pool_tracks=True)
    assert gallery._searcher._pooled[1] is not None
    gallery.forget(Where(ids=(2,)))
    assert gallery._searcher._pooled == (None, None)
    gallery.close()


def test_a_track_goes_with_its_last_entry(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g")
    gallery.forget(Where(tracks=("track 3",)))
    assert "track 3" not in gallery._store.database.track_names()
    assert "track 4" in gallery._store.database.track_names()
    gallery.close()


def test_expire(tmp_path: Path) -> None:
    gallery, data = filled(tmp_path / "g")
    (added,) = {round(e.added, -2) for e in gallery.entries()}
    assert gallery.expire("30d") == 0
    assert gallery.expire("1h", by="time", now=3600.0 + 300.0) == sum(
        e.time is not None and e.time < 300 for e in data.entries
    )
    assert len(gallery) > 0
    assert gallery.expire("30d", now=added + 31 * 86_400) > 0
    assert len(gallery) == 0
    for wrong in ("30", "d", "-3d", "30y"):
        with pytest.raises(ValueError, match="not a time span"):
            gallery.expire(wrong)
    with pytest.raises(ValueError, match="'added' or 'time'"):
        gallery.expire("1d", by="seen")  # type: ignore[arg-type]
    gallery.close()


@pytest.mark.parametrize("scanned", [False, True])
def test_a_search_that_a_forget_overtakes_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: bool
) -> None:
    folder = tmp_path / "g"
    writer, data = filled(folder)
    reader = open_gallery(folder)
    from crosscam.gallery import searching

    query, original, calls = data.descriptors[:1], searching.nearest, []

    def overtaken(*args, **kwargs):  # type: ignore[no-untyped-def]
        found = original(*args, **kwargs) if scanned else None
        if not calls:
            # Between the reader's look at the database and its scan, or between the scan and its look at the entries.
            writer.forget(Where(ids=(data.ids[0],)))
        calls.append(1)
        return found or original(*args, **kwargs)

    monkeypatch.setattr(searching, "nearest", overtaken)
    hits = reader.search(query, 5, model=F)[0]
    assert len(calls) == 2
    assert len(hits) == 5
    assert data.ids[0] not in {hit.entry.id for hit in hits}
    reader.close()
    writer.close()
