"""Names of cameras in a gallery."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_gallery import LAYOUT, MODEL, all_bytes, files_with, filled, some_descriptors

from crosscam.calibration.calibration import Calibration, CameraThresholds, Thresholds
from crosscam.data.records import Sample
from crosscam.gallery import NewEntry, Where, open_gallery
from crosscam.gallery.calibrated import of_gallery
from crosscam.gallery.camera_names import camid_of
from crosscam.gallery.local import LocalGallery
from crosscam.gallery.numbering import keep_cameras_apart, kept_name, number_cameras
from crosscam.gallery.store import Store
from crosscam.shipped import run_folder

F = MODEL.fingerprint
SOUTH, NORTH = "Kamera Süd", "Kamera Nord"


def named(place: Path) -> LocalGallery:
    """Four images of a camera with a name, two of another, and one of a camera with a number only."""
    gallery = LocalGallery.create(place, LAYOUT, MODEL)
    cameras = [(1, SOUTH)] * 4 + [(2, NORTH)] * 2 + [(7, None)]
    entries = [NewEntry(f"{i}.jpg", camid, camera=name) for i, (camid, name) in enumerate(cameras)]
    gallery.add(some_descriptors(len(entries)), entries, model=F)
    return gallery


def test_names_are_kept_and_come_with_entries_and_hits(tmp_path: Path) -> None:
    with named(tmp_path / "g") as gallery:
        assert gallery.camera_names() == {1: SOUTH, 2: NORTH}
    with open_gallery(tmp_path / "g") as gallery:
        assert [e.camera for e in gallery.entries()] == [SOUTH] * 4 + [NORTH] * 2 + [None]
        assert [e.camera_label for e in gallery.entries(Where(camids=(2, 7)))] == [NORTH, NORTH, "7"]
        (hits,) = gallery.search(some_descriptors(1), 7, model=F)
        assert {hit.entry.camid: hit.entry.camera for hit in hits} == {1: SOUTH, 2: NORTH, 7: None}
        assert gallery.info().camera_names == {1: SOUTH, 2: NORTH}
        assert gallery.verify().sound
        gallery.export(tmp_path / "out.npz")
        gallery.backup(tmp_path / "copy")
    assert np.load(tmp_path / "out.npz")["camera"].tolist() == [SOUTH] * 4 + [NORTH] * 2 + [""]
    with open_gallery(tmp_path / "copy") as copy:
        assert copy.camera_names() == {1: SOUTH, 2: NORTH}


def test_forgetting_the_last_entry_of_a_camera_removes_its_name(tmp_path: Path) -> None:
    with named(tmp_path / "g") as gallery, open_gallery(tmp_path / "g") as reader:
        needle = b"S\\u00fcd"  # as JSON spells it
        assert files_with(all_bytes(tmp_path / "g"), needle)
        gallery.forget(Where(ids=(1, 2, 3)))
        assert reader.camera_names() == {1: SOUTH, 2: NORTH}
        gallery.forget(Where(ids=(4,)))
        assert reader.camera_names() == {2: NORTH}
        files = all_bytes(tmp_path / "g")
        assert [files_with(files, word) for word in (needle, "Süd".encode(), b"Kamera S")] == [[], [], []]
        gallery.forget(Where(camids=(2,)))
        assert reader.camera_names() == {}
        assert files_with(all_bytes(tmp_path / "g"), b"Kamera") == []
        assert reader.verify().sound


@pytest.mark.parametrize("killed", [False, True])
def test_a_camera_whose_entries_all_move_leaves_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    gallery = named(tmp_path / "g")
    if killed:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "wipe", interrupted)
            with pytest.raises(KeyboardInterrupt):
                gallery.update([5, 6], camid=1)
        gallery.close()
        gallery = named_again(tmp_path / "g")
    else:
        gallery.update([5, 6], camid=1)
    assert gallery.camera_names() == {1: SOUTH}
    assert files_with(all_bytes(tmp_path / "g"), b"Nord") == []
    gallery.close()


def interrupted(store: Store) -> None:
    raise KeyboardInterrupt


def named_again(place: Path) -> LocalGallery:
    return LocalGallery.open(place, write=True)


def test_a_name_that_is_replaced_leaves_no_byte(tmp_path: Path) -> None:
    with named(tmp_path / "g") as gallery:
        gallery.name_cameras({2: "Hall", 7: "Door"})
        assert gallery.camera_names() == {1: SOUTH, 2: "Hall", 7: "Door"}
        assert files_with(all_bytes(tmp_path / "g"), b"Nord") == []
        gallery.name_cameras({7: None})
        assert files_with(all_bytes(tmp_path / "g"), b"Door") == []
        for names, told in (
            ({9: "Yard"}, "no entries of camera 9"),
            ({7: "Hall"}, "Cameras 2 and 7 would both be called 'Hall'"),
            ({7: "3"}, "is a number, not a camera name"),
            ({7: " "}, "is not a valid camera name"),
            ({7: "nan"}, "is not a valid camera name"),
        ):
            with pytest.raises(ValueError, match=told):
                gallery.name_cameras(names)  # type: ignore[arg-type]
        assert gallery.camera_names() == {1: SOUTH, 2: "Hall"}


def test_what_new_entries_may_call_a_camera(tmp_path: Path) -> None:
    with named(tmp_path / "g") as gallery:
        for entry, told in (
            (NewEntry("x.jpg", 1, camera=NORTH), "Camera 1 is called 'Kamera Süd' in this gallery"),
            (NewEntry("x.jpg", 5, camera=NORTH), "Cameras 2 and 5 would both be called"),
            (NewEntry("x.jpg", 5, camera="12"), "is a number, not a camera name"),
            (NewEntry("x.jpg", 5, camera="a\0"), "UTF-8 without NUL"),
        ):
            with pytest.raises(ValueError, match=told):
                gallery.add(some_descriptors(1), [entry], model=F)
        assert len(gallery) == 7


def test_a_gallery_without_names_is_as_before(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g", 40)
    assert gallery.camera_names() == {}
    assert gallery.document("cameras") is None
    assert {e.camera for e in gallery.entries()} == {None}
    gallery.close()


def samples(*cameras: tuple[str, int, str | None]) -> list[Sample]:
    return [Sample(Path(path), 0, camid, camera=name) for path, camid, name in cameras]


def test_a_source_s_cameras_get_the_gallery_s_numbers(tmp_path: Path) -> None:
    with named(tmp_path / "g") as gallery:
        given = samples(("a", 1, NORTH), ("b", 2, "Yard"), ("c", 3, SOUTH), ("d", 9, None), ("e", 4, "Attic"))
        assert [s.camid for s in number_cameras(gallery, given)] == [2, 11, 1, 9, 10]
        keep_cameras_apart(gallery, samples(("a", 1, SOUTH), ("b", 3, None)))
        with pytest.raises(Exception, match="Camera 1 of these images would be 'Kamera Süd' of the gallery"):
            keep_cameras_apart(gallery, samples(("b", 1, None)))


def test_names_that_look_alike_are_one_camera(tmp_path: Path) -> None:
    apart = "Kamera Su\u0308d"
    with named(tmp_path / "g") as gallery:
        assert [s.camid for s in number_cameras(gallery, samples(("a", 9, apart), ("b", 9, "Hof")))] == [1, 8]
        gallery.add(some_descriptors(1), [NewEntry("x.jpg", 1, camera=apart)], model=F)
        assert camid_of(gallery.camera_names(), apart) == 1
        gallery.set_document("cameras", {"1": apart, "2": NORTH})  # of an earlier version
        assert gallery.camera_names() == {1: SOUTH, 2: NORTH}
        gallery.set_document("cameras", {"1": apart, "2": SOUTH})  # which kept these two apart
        assert gallery.camera_names() == {1: apart, 2: SOUTH}


def test_cameras_of_an_earlier_version_get_their_names(tmp_path: Path) -> None:
    gallery = LocalGallery.create(tmp_path / "g", LAYOUT, MODEL)
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    entries = [NewEntry(kept_name(path), camid) for path, camid in zip(paths, (1, 2, 2), strict=True)]
    gallery.add(some_descriptors(3), entries, model=F)
    given = [Sample(paths[0], 0, 5, camera="Hall"), Sample(paths[1], 0, 6, camera="Yard")]
    again = number_cameras(gallery, [*given, Sample(tmp_path / "new.jpg", 0, 6, camera="Yard")])
    assert [s.camid for s in again] == [1, 2, 2]
    assert gallery.camera_names() == {1: "Hall", 2: "Yard"}
    gallery.close()


def test_thresholds_of_single_cameras_keep_to_their_cameras() -> None:
    text = (run_folder(Path("rrid-mini")) / "calibration.json").read_text(encoding="utf-8")
    limits = Thresholds(0.5, 0.6, 10, 10)
    pairs = [(1, 2), (1, 1), (2, 3), (3, 3), (4, 5)]
    made = replace(Calibration.from_json(text), cameras=tuple(CameraThresholds(pair, limits) for pair in pairs))
    names, known = {1: SOUTH, 2: NORTH, 3: "Elsewhere"}, {1: NORTH, 2: SOUTH, 4: "Yard"}
    kept = of_gallery(made, names, known)
    assert [c.camids for c in kept.cameras] == [(1, 2), (2, 2)], "4 is another camera there"
    assert [c.camids for c in of_gallery(made, {}, {}).cameras] == pairs
