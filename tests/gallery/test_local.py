"""A gallery's folder: writers and readers, damage, copies, tables."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_gallery import LAYOUT, MODEL, filled, some_descriptors, some_entries

from crosscam.calibration.calibration import Origin
from crosscam.errors import GalleryBusyError, GalleryError, ModelMismatchError
from crosscam.gallery import KEEP, NewEntry, Where, create_gallery, maintenance, open_gallery, segments, store
from crosscam.gallery.answers import ANSWERS, Answer
from crosscam.gallery.calibrated import calibrate_answers, calibration_of, keep_from_elsewhere
from crosscam.gallery.local import LocalGallery
from crosscam.models.output import Block
from crosscam.system.text import read_span

F = MODEL.fingerprint


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    gallery, data = filled(tmp_path / "g")
    gallery.close()
    gallery.close()
    with open_gallery(tmp_path / "g") as reader:
        assert (reader.model, reader.layout, reader.dim, len(reader)) == (MODEL, LAYOUT, 16, 120)
        assert data.ids == list(range(1, 121)) == reader.ids()
        found = reader.entries()
        assert [(e.path, e.camid, e.pid, e.time, e.track) for e in found] == [
            (e.path, e.camid, e.pid, e.time, e.track) for e in data.entries
        ]
        mixed = [77, 3, 3, 120]
        assert [e.id for e in reader.get(mixed)] == mixed
        np.testing.assert_array_equal(reader.descriptors(mixed), data.descriptors[[i - 1 for i in mixed]])
        assert reader.thumbnails(mixed) == [data.thumbnails[i - 1] for i in mixed]
        assert [e.id for e in reader.entries(Where(camids=(2,)), start=2, limit=3)] == [11, 15, 19]
        info = reader.info()
        assert (info.entries, info.wiped, info.people) == (120, 0, 23)
        assert info.cameras == ((0, 30), (1, 30), (2, 30), (3, 30))
        assert info.tracks == len({(e.camid, e.track) for e in data.entries if e.track})
        assert info.times == (10.0, 1180.0)
        assert info.bytes is not None
        assert info.bytes > 120 * 19 * 4
        assert reader.verify().sound
    with pytest.raises(GalleryError, match="has been closed"):
        reader.ids()


def test_a_reader_sees_what_was_acknowledged(tmp_path: Path) -> None:
    writer, data = filled(tmp_path / "g")
    with open_gallery(tmp_path / "g") as reader:
        assert len(reader) == 120
        new = writer.add(some_descriptors(40, 8), some_entries(40, 500), model=F)
        assert len(reader) == 160
        assert reader.search(some_descriptors(40, 8)[:1], 1, model=F)[0][0].entry.id == new[0]
        writer.update(new[:2], pid=77, track="other")
        assert reader.ids(Where(pids=(77,), tracks=("other",))) == new[:2]
        writer.forget(Where(ids=(data.ids[4],)))
        assert data.ids[4] not in reader.ids()
        writer.compact()
        np.testing.assert_array_equal(reader.descriptors([data.ids[5]]), data.descriptors[5:6])
        assert reader.thumbnails([data.ids[5]]) == [data.thumbnails[5]]
    writer.close()


def test_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.0)
    writer, _ = filled(tmp_path / "g")
    with pytest.raises(GalleryBusyError, match=f"is being written by process {os.getpid()} on "):
        open_gallery(tmp_path / "g", write=True)
    with open_gallery(tmp_path / "g") as reader:
        for act in (
            lambda: reader.add(some_descriptors(1), some_entries(1), model=F),
            lambda: reader.update([1], pid=1),
            lambda: reader.forget(Where(ids=(1,))),
            lambda: reader.expire("1d"),
            lambda: reader.compact(),
            lambda: reader.set_document("x", 1),
        ):
            with pytest.raises(GalleryError, match="open for reading"):
                act()
        with pytest.raises(GalleryBusyError):
            reader.backup(tmp_path / "copy")
    writer.close()
    open_gallery(tmp_path / "g", write=True).close()


def test_another_model_is_refused(tmp_path: Path) -> None:
    writer, _ = filled(tmp_path / "g")
    with pytest.raises(ModelMismatchError, match=r"small in runs/small \(fingerprint aaaa1111\)"):
        writer.add(some_descriptors(1), some_entries(1), model="other")
    assert len(writer) == 120
    writer.close()


def test_update(tmp_path: Path) -> None:
    writer, data = filled(tmp_path / "g")
    assert writer.update([2, 3, 3], pid=None, time=None, track=None, camid=9) == 2
    assert writer.update([4], path="new.jpg", track="fresh", pid=KEEP) == 1
    second, third, fourth = writer.get([2, 3, 4])
    assert (second.pid, second.time, second.track, second.camid, second.path) == (
        None, None, None, 9, data.entries[1].path,
    )  # fmt: skip
    assert third.camid == 9
    assert (fourth.path, fourth.track, fourth.pid) == ("new.jpg", "fresh", data.entries[3].pid)
    with pytest.raises(GalleryError, match="no entry 999"):
        writer.update([5, 999], pid=1)
    assert writer.get([5])[0].pid == data.entries[4].pid
    assert writer.update([5]) == 0
    with pytest.raises(ValueError, match="time inf"):
        writer.update([5], time=float("inf"))
    writer.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"entries": some_entries(3)}, "an entry and a thumbnail for each of 2"),
        ({"thumbnails": [b"x"]}, "an entry and a thumbnail for each of 2"),
        ({"descriptors": 3 * some_descriptors(2)}, "Row 0 of the descriptors has length 3"),
        ({"descriptors": some_descriptors(2)[:, :4]}, r"must be \(N, 16\)"),
        ({"entries": [NewEntry("a", 1), NewEntry("b", 2**70)]}, "Entry 1 has camid"),
        ({"entries": [NewEntry("a", 1), NewEntry("b\0", 2)]}, "Entry 1 has the path"),
        ({"entries": [NewEntry("a", 1, time=float("nan")), NewEntry("b", 2)]}, "Entry 0 has the time nan"),
        ({"entries": [NewEntry("a", 1, time="x"), NewEntry("b", 2)]}, "Entry 0 has the time 'x'"),  # type: ignore[arg-type]
        ({"entries": [NewEntry("a", 1, track=""), NewEntry("b", 2)]}, "Entry 0 has the track ''. Expected a name"),
        ({"entries": [NewEntry("a", 1), NewEntry("b", 2, pid=-5)]}, "Entry 1 has pid -5. Expected -1 or more"),
    ],
)
def test_what_add_refuses(tmp_path: Path, change: dict[str, object], told: str) -> None:
    given: dict[str, object] = {"descriptors": some_descriptors(2), "entries": some_entries(2), **change}
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL) as gallery:
        with pytest.raises(ValueError, match=told):
            gallery.add(**given, model=F)  # type: ignore[arg-type]
        assert len(gallery) == 0
        # numpy's numbers are numbers.
        entry = NewEntry("a", np.int64(3), np.int32(4), np.float32(5.0), "t")  # type: ignore[arg-type]
        gallery.add(some_descriptors(1), [entry], model=F)
        assert [(e.camid, e.pid, e.time) for e in gallery.entries()] == [(3, 4, 5.0)]


def test_a_failing_disk_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, _ = filled(tmp_path / "g")
    original = os.fsync
    left = [3]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        original(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GalleryError, match=r"No space left on device.*Nothing was changed"):
        writer.add(some_descriptors(100, 4), some_entries(100), model=F)
    monkeypatch.setattr(os, "fsync", original)
    assert len(writer) == 120
    ids = writer.add(some_descriptors(100, 5), some_entries(100), model=F)
    np.testing.assert_array_equal(writer.descriptors(ids), some_descriptors(100, 5))
    assert writer.verify().sound
    writer.close()


def test_new_segments_are_on_the_disk_with_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (flushed.append(os.fstat(handle).st_ino), sync(handle)))
    files = segments.SegmentFiles(tmp_path, 3)
    files.append(1, 0, np.zeros((2, 3), np.float32), 0, b"picture")
    assert flushed == [path.stat().st_ino for path in (files.rows_file(1), files.thumbs_file(1), tmp_path)]


def test_a_compaction_that_fails_leaves_no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, _ = filled(tmp_path / "g")
    writer.forget(Where(camids=(1,)))
    before = sorted((tmp_path / "g" / "segments").iterdir())

    original, calls = segments._write_all, []

    def full(handle: int, data: memoryview, at: int) -> None:
        calls.append(at)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        original(handle, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(segments, "_write_all", full)
        with pytest.raises(GalleryError, match="No space left"):
            writer.compact()
    assert sorted((tmp_path / "g" / "segments").iterdir()) == before
    assert writer.verify().sound
    writer.close()


def test_what_a_crash_leaves_is_cut_off(tmp_path: Path) -> None:
    filled(tmp_path / "g")[0].close()
    segments = tmp_path / "g" / "segments"
    sizes = {file.name: file.stat().st_size for file in segments.iterdir()}
    for file in segments.iterdir():
        file.write_bytes(file.read_bytes() + b"half an entry")
    (segments / "000099.rows").write_bytes(b"half a segment")
    open_gallery(tmp_path / "g").close()
    assert (segments / "000099.rows").exists(), "a reader changes nothing"
    with open_gallery(tmp_path / "g", write=True) as writer:
        assert writer.verify().sound
    assert {file.name: file.stat().st_size for file in segments.iterdir()} == sizes


def test_verify_finds_damage(tmp_path: Path) -> None:
    filled(tmp_path / "g")[0].close()
    for name, at in (("000002.rows", 200), ("000003.thumbs", 70)):
        file = tmp_path / "g" / "segments" / name
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)
    with open_gallery(tmp_path / "g") as reader:
        first, second = reader.verify().problems
        assert first.startswith("Entry 35: the descriptor is not what was added")
        assert "the thumbnail is not what was added" in second
    rows = tmp_path / "g" / "segments" / "000001.rows"
    rows.write_bytes(rows.read_bytes()[:-1])
    for write in (False, True):
        with (
            pytest.raises(GalleryError, match=r"is cut short: expected 2,432 bytes, found 2,431"),
            open_gallery(tmp_path / "g", write=write) as gallery,
        ):
            gallery.ids()
    # The lock was given back.
    rows.unlink()
    with pytest.raises(GalleryError, match=r"000001.rows is missing"):
        open_gallery(tmp_path / "g", write=True)


def test_places_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="No gallery at"):
        open_gallery(tmp_path)
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(GalleryError, match="is taken"):
            create_gallery(place, LAYOUT, MODEL)
    with pytest.raises(ValueError, match="cover the descriptor once"):
        create_gallery(tmp_path / "g", (Block("a", 1, 3, 1, "global", (0, 1)),), MODEL)
    filled(tmp_path / "g")[0].close()
    with sqlite3.connect(tmp_path / "g" / "gallery.sqlite") as connection:
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'format'")
    with pytest.raises(GalleryError, match="has format 3, this crosscam reads 2"):
        open_gallery(tmp_path / "g")
    connection.close()
    (tmp_path / "g" / "gallery.sqlite").write_bytes(b"no database, but long enough to be taken for a page" * 40)
    with pytest.raises(GalleryError, match="cannot be read as a gallery"):
        open_gallery(tmp_path / "g")


def test_backup(tmp_path: Path) -> None:
    writer, data = filled(tmp_path / "g")
    writer.forget(Where(camids=(1,)))
    assert writer.backup(tmp_path / "copy") == 90
    writer.add(some_descriptors(5), some_entries(5), model=F)
    with pytest.raises(GalleryError, match="is taken"):
        writer.backup(tmp_path / "copy")
    with open_gallery(tmp_path / "copy", write=True) as copy:
        assert copy.verify().sound
        kept = [i for i, e in enumerate(data.entries) if e.camid != 1]
        assert copy.ids() == [data.ids[i] for i in kept]
        np.testing.assert_array_equal(copy.descriptors(copy.ids()), data.descriptors[kept])
        copy.add(some_descriptors(5), some_entries(5), model=F)
    writer.close()


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_export(tmp_path: Path, suffix: str) -> None:
    gallery, data = filled(tmp_path / "g")
    file = tmp_path / f"table{suffix}"
    assert gallery.export(file, Where(camids=(1, 2))) == 60
    kept = [i for i, e in enumerate(data.entries) if e.camid in (1, 2)]
    if suffix == ".npz":
        found = {name: array.tolist() for name, array in np.load(file, allow_pickle=False).items()}
        missing = (np.iinfo(np.int64).min, "")
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        found = parquet.read_table(file).to_pydict()
        missing = (None, None)
    assert found["id"] == [data.ids[i] for i in kept]
    np.testing.assert_array_equal(np.array(found["descriptor"], np.float32), data.descriptors[kept])
    assert found["path"] == [data.entries[i].path for i in kept]
    assert found["camid"] == [data.entries[i].camid for i in kept]
    assert found["pid"] == [missing[0] if data.entries[i].pid is None else data.entries[i].pid for i in kept]
    assert found["track"] == [data.entries[i].track or missing[1] for i in kept]
    assert sum(t is None or np.isnan(t) for t in found["time"]) == sum(data.entries[i].time is None for i in kept)
    with pytest.raises(GalleryError, match=r"ends in .parquet or .npz"):
        gallery.export(tmp_path / "table.txt")
    assert [f.name for f in tmp_path.iterdir() if f.is_file()] == [file.name]
    gallery.close()


def test_documents(tmp_path: Path) -> None:
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL) as gallery:
        assert gallery.document("calibration") is None
        gallery.set_document("calibration", {"threshold": 0.5, "pairs": [1, None]})
        with open_gallery(tmp_path / "g") as reader:
            assert reader.document("calibration") == {"threshold": 0.5, "pairs": [1, None]}
        gallery.set_document("calibration", None)
        assert gallery.document("calibration") is None


def test_threads_search_while_one_writes(tmp_path: Path) -> None:
    writer, data = filled(tmp_path / "g")
    faults: list[BaseException] = []

    def look(gallery: object) -> None:
        try:
            for i in range(15):
                hits = writer.search(data.descriptors[i : i + 1], 3, model=F)[0]
                assert len(hits) == 3
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=look, args=(writer,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(10):
        writer.add(some_descriptors(4, i), some_entries(4), model=F)
        writer.forget(Where(ids=(data.ids[50 + i],)))
    writer.compact()
    for thread in threads:
        thread.join()
    assert faults == []
    writer.close()


def test_read_only_folder(tmp_path: Path) -> None:
    filled(tmp_path / "g")[0].close()
    folders = (tmp_path / "g" / "segments", tmp_path / "g")
    for folder in folders:
        folder.chmod(0o555)
    try:
        with open_gallery(tmp_path / "g") as reader:
            assert len(reader) == 120
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_time_spans() -> None:
    assert [read_span(text) for text in ("90s", "2m", "1.5h", "30d", " 2 w ")] == [90, 120, 5400, 2_592_000, 1_209_600]


def test_labels_of_entries_are_whole_numbers_however_they_come(tmp_path: Path) -> None:
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL) as gallery:
        entries = [NewEntry("a", 3.0, -1.0), NewEntry("b", np.uint64(4), np.int8(7))]  # type: ignore[arg-type]
        gallery.add(some_descriptors(2), entries, model=MODEL.fingerprint)
        assert [(e.camid, e.pid) for e in gallery.entries()] == [(3, -1), (4, 7)]
        gallery.update([1.0], pid=8.0, camid=2.0)  # type: ignore[arg-type, list-item]
        found = gallery.entries(Where(pids=(8.0,)))  # type: ignore[arg-type]
        assert [(e.camid, e.pid) for e in found] == [(2, 8)]
        assert all(type(value) is int for e in gallery.entries() for value in (e.camid, e.pid))
        for wrong in (7.5, float("nan"), 2**63, "7", True):
            with pytest.raises(ValueError, match="Entry 0 has pid"):
                gallery.update([1], pid=wrong)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="Entry 0 has camid"):
                gallery.add(some_descriptors(1), [NewEntry("c", wrong)], model=MODEL.fingerprint)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="pids is"):
                Where(pids=(wrong,))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="id is 1267650600228229401496703205376"):
            gallery.thumbnails([2**100])
        with pytest.raises(ValueError, match="Entry 0 has camid None"):
            gallery.add(some_descriptors(1), [NewEntry("c", None)], model=MODEL.fingerprint)  # type: ignore[arg-type]


def test_answers_about_these_cameras_count_before_a_calibration_of_others(tmp_path: Path) -> None:
    distances = [0.3] * 30 + [1.0] * 30
    other = calibrate_answers(distances, [d < 0.5 for d in distances], Origin("elsewhere", "d" * 16, F), 60)
    with LocalGallery.create(tmp_path / "g", LAYOUT, MODEL) as gallery:
        keep_from_elsewhere(gallery, other)
        assert calibration_of(gallery) == (other, "")
        given = [Answer(n, n + 1, d, d < 0.5, "local", "2026-11-29") for n, d in enumerate(distances)]
        gallery.set_document(ANSWERS.document, ANSWERS.write(given))
        found, _ = calibration_of(gallery)
        assert found is not None
        assert found.origin.data == "answers about pairs of this gallery"


def test_a_folder_that_cannot_be_written_is_copied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, _ = filled(tmp_path / "g")
    access, copy = os.access, maintenance._copy

    def copy_while_another_user_adds(*arguments: Any) -> None:
        writer.add(some_descriptors(1), some_entries(1), model=F)
        copy(*arguments)

    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "g" and access(path, mode))
    with open_gallery(tmp_path / "g") as reader:
        assert reader.backup(tmp_path / "copy") == 120
        monkeypatch.setattr(maintenance, "_copy", copy_while_another_user_adds)
        with pytest.raises(GalleryBusyError, match="was changed while it was copied"):
            reader.backup(tmp_path / "other")
    writer.close()
    assert not (tmp_path / "other").exists()
    with open_gallery(tmp_path / "copy") as copied:
        assert (len(copied), copied.verify().sound) == (120, True)
