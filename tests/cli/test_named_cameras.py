"""Cameras by name on the command line: folders, --camera, filters, tables, exports; and times as people write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from in_process import Run
from PIL import Image

from crosscam.cli import demo, show
from crosscam.gallery import open_gallery
from crosscam.inference.descriptor_tables import read_descriptors

SOUTH, NORTH = "Kamera Süd", "Kamera Nord"


@pytest.fixture
def by_camera(place: Path) -> Path:
    """The drawn people's images in a folder for each camera, named so that no file name tells it."""
    for n, image in enumerate(sorted((place / "people/bounding_box_test").glob("*.jpg"))):
        folder = place / "own" / (SOUTH if "_c1" in image.name else NORTH)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / f"{n:03}.jpg")
    return place


@pytest.fixture
def gallery(crosscam: Run, by_camera: Path) -> Path:
    """A gallery of these images."""
    assert crosscam("gallery create g run")[0] == 0
    status, _, err = crosscam("gallery add g run own")
    assert status == 0, err
    assert "note: Each folder is a camera: Kamera Nord, Kamera Süd." in err
    return by_camera


def found(crosscam: Run, options: str) -> list[dict[str, object]]:
    status, out, err = crosscam(f"gallery search g run 'own/{SOUTH}/000.jpg' --json --limit 99 {options}")
    assert status == 0, err
    hits: list[dict[str, object]] = json.loads(out)
    return hits


def test_a_folder_for_each_camera_goes_into_a_gallery(crosscam: Run, gallery: Path) -> None:
    assert {(h["camid"], h["camera"]) for h in found(crosscam, "")} == {(1, NORTH), (2, SOUTH)}
    with open_gallery(gallery / "g") as opened:
        assert {e.pid for e in opened.entries()} == {None}
    assert f"{NORTH} (1): " in crosscam("gallery info g")[1]


def test_filters_take_names_and_numbers(crosscam: Run, gallery: Path) -> None:
    assert {h["camera"] for h in found(crosscam, f"--cameras '{SOUTH}'")} == {SOUTH}
    assert {h["camera"] for h in found(crosscam, "--cameras 1")} == {NORTH}
    assert {h["camera"] for h in found(crosscam, f"--not-cameras '{SOUTH}'")} == {NORTH}
    status, _, err = crosscam("gallery forget g --cameras 'Kamera Sud'")
    assert status == 2
    assert "No camera is called 'Kamera Sud' in this gallery. Did you mean Kamera Süd? Known by name: Kamera" in err
    assert crosscam(f"gallery forget g --cameras '{SOUTH}'")[0] == 0
    assert {h["camera"] for h in found(crosscam, "")} == {NORTH}
    assert SOUTH not in crosscam("gallery info g")[1]


def test_tables_and_exports_have_the_names(crosscam: Run, gallery: Path) -> None:
    out = crosscam(f"gallery search g run 'own/{SOUTH}/000.jpg' --limit 30 --html hits.html")[1]
    assert f"cam {NORTH}" in (gallery / "hits.html").read_text(encoding="utf-8")
    assert NORTH in out
    assert SOUTH in out
    assert crosscam("gallery export g out.npz")[0] == 0
    assert set(np.load(gallery / "out.npz")["camera"].tolist()) == {NORTH, SOUTH}


def test_one_source_may_be_called_after_its_camera(crosscam: Run, gallery: Path) -> None:
    Image.new("RGB", (20, 40), "red").save(gallery / "one.png")
    assert crosscam(f"gallery add g run one.png --camera '{SOUTH}'")[0] == 0
    (gallery / "new").mkdir()
    Image.new("RGB", (20, 40), "blue").save(gallery / "new/two.png")
    assert crosscam("gallery add g run new --camera Yard")[0] == 0
    Image.new("RGB", (20, 40), "blue").save(gallery / "new/three.png")
    assert crosscam("gallery add g run new --camera 1")[0] == 0
    with open_gallery(gallery / "g") as opened:
        assert [(e.camid, e.camera) for e in opened.entries()[-3:]] == [(2, SOUTH), (3, "Yard"), (1, NORTH)]
    status, _, err = crosscam("gallery add g run new --camera 1 --camids 2")
    assert (status, "Give one of them" in err) == (2, True)


def test_numbers_of_a_source_do_not_become_somebody_elses_camera(crosscam: Run, gallery: Path) -> None:
    status, _, err = crosscam("gallery add g run people")
    assert status == 2
    assert "Camera 1 of these images would be 'Kamera Nord' of the gallery" in err


def test_cameras_are_renamed_and_entries_moved(crosscam: Run, gallery: Path) -> None:
    assert crosscam("gallery update g --name-cameras 'Kamera Nord=Hall' --name-cameras 2=Yard")[0] == 0
    assert {h["camera"] for h in found(crosscam, "")} == {"Hall", "Yard"}
    assert json.loads(crosscam("gallery update g --ids 1 2 --camera Attic --json")[1]) == {"updated": 2}
    assert json.loads(crosscam("gallery update g --ids 3 --camera Hall --json")[1]) == {"updated": 1}
    with open_gallery(gallery / "g") as opened:
        assert [(e.camid, e.camera) for e in opened.get([1, 2, 3])] == [(3, "Attic"), (3, "Attic"), (1, "Hall")]
    for words, told in (
        ("--name-cameras Hall", "expected CAMERA=NAME"),
        ("--name-cameras Hall=Yard", "would both be called 'Yard'"),
        ("--camera Hall", "Nothing says which entries"),
    ):
        status, _, err = crosscam(f"gallery update g {words}")
        assert (status, told in err, len(err.splitlines())) == (2, True, 1), err


def test_times_are_dates(crosscam: Run, gallery: Path) -> None:
    assert crosscam("gallery update g --ids 1 --time '2026-11-24 08:30'")[0] == 0
    assert crosscam("gallery update g --ids 2 --time 2026-11-25T09:00+01:00")[0] == 0
    assert crosscam("gallery update g --ids 3 --time 1h")[0] == 0
    assert [h["id"] for h in found(crosscam, "--time-to 2026-11-24")] == [1]
    assert [h["id"] for h in found(crosscam, "--time-from 2026-11-25 --time-to 1795593600")] == [2]
    assert [h["id"] for h in found(crosscam, "--time-from 2h")] == [3]
    assert "2026-11-24 08:30:00 UTC" in crosscam(f"gallery search g run 'own/{SOUTH}/000.jpg' --limit 99")[1]
    status, _, err = crosscam("gallery forget g --time-from noon")
    assert (status, "--time-from: 'noon' is not a valid time. Expected a date" in err) == (2, True)
    assert json.loads(crosscam("gallery expire g --by time --keep 1h30m --json")[1])["forgotten"] >= 1


def test_extract_keeps_the_cameras(crosscam: Run, by_camera: Path) -> None:
    status, _, err = crosscam("extract run own v.npz")
    assert status == 0
    assert "Each folder is a camera" in err
    with np.load(by_camera / "v.npz") as saved:
        assert set(saved["cameras"].tolist()) == {NORTH, SOUTH}
        assert {Path(p).parent.name for p, c in zip(saved["paths"], saved["camids"], strict=True) if c == 1} == {NORTH}
        assert "pids" not in saved
    assert set(read_descriptors(by_camera / "v.npz").cameras) == {NORTH, SOUTH}
    assert crosscam(f"extract run 'own/{SOUTH}' w.npz")[0] == 0
    assert "cameras" not in np.load(by_camera / "w.npz")
    assert crosscam(f"extract run 'own/{SOUTH}' x.parquet --camera Yard")[0] == 0
    import pyarrow.parquet

    assert set(pyarrow.parquet.read_table(by_camera / "x.parquet")["camera"].to_pylist()) == {"Yard"}
    assert set(read_descriptors(by_camera / "x.parquet").to_arrow()["camera"].to_pylist()) == {"Yard"}


def test_the_doctor_looks_at_images_of_nobody_known(crosscam: Run, by_camera: Path) -> None:
    status, out, err = crosscam("data doctor own")
    assert status == 0, err
    assert "Each folder is a camera: Kamera Nord, Kamera Süd." in out
    assert "Empty: train" not in out
    assert "If each folder is a person, and no camera, tell the cameras by --camids." in out
    (by_camera / "days").mkdir()
    shutil.copytree(by_camera / "own" / SOUTH, by_camera / "days" / SOUTH / "2026-11-24")
    shutil.copytree(by_camera / "own" / NORTH, by_camera / "days" / NORTH / "2026-11-24")
    out = crosscam("data doctor days")[1]
    assert "Each folder is a camera: Kamera Nord, Kamera Süd." in out
    assert "If the folders in those of the cameras are people, give --kind cameras." in out
    # Days are not people: two cameras and one name of a folder in them.
    assert "2 folders with 1 names of folders in them" in crosscam("data doctor days --kind cameras")[2]
    # Where the user tells the cameras, folders are people.
    assert "identities, numbered" in crosscam("data doctor own --camids 1")[1]


def test_calibration_knows_cameras_by_name(crosscam: Run, gallery: Path) -> None:
    for image in sorted((gallery / "people").glob("*/*.jpg")):
        who, camera = image.name[:4], NORTH if "_c1" in image.name else "Elsewhere"
        folder = gallery / "labeled" / camera / who
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / f"{image.stem.replace('_c', '-')}.jpg")
    status, _, err = crosscam("calibrate run --data labeled --fmr 0.2 --fnmr 0.95 --gallery g")
    assert status == 0, err
    assert "Each folder is a camera: Elsewhere, Kamera Nord." in err
    with open_gallery(gallery / "g") as opened:
        kept = opened.document("calibration")["cameras"]
    assert all(c["camids"] == [1, 1] for c in kept), "the gallery has no camera Elsewhere, and its camera 2 is another"


def test_a_plain_folder_needs_no_option(crosscam: Run, place: Path) -> None:
    assert crosscam("gallery create g run")[0] == 0
    status, _, err = crosscam("gallery add g run people/bounding_box_test")
    assert status == 0, err
    assert "The images are unlabeled." in err
    status, _, err = crosscam("gallery add g run people/bounding_box_test --subset train")
    assert (status, "is not a dataset, so it has no subset train" in err) == (2, True)


def test_the_gallery_knows_its_network(crosscam: Run, place: Path) -> None:
    image = min((place / "people/query").glob("*.jpg"))
    assert crosscam("gallery create g run")[0] == 0
    assert crosscam("gallery add g people")[0] == 0
    assert json.loads(crosscam(f"gallery search g {image} --limit 1 --json")[1])
    (place / "run").rename(place / "moved")
    assert crosscam("gallery add g people")[0] == 2
    assert crosscam("gallery add g moved people")[0] == 0
    with open_gallery(place / "g", write=True) as gallery:
        gallery.set_document("model_source", None)
    (place / "g").rename(place / "h")
    status, _, err = crosscam("gallery add h people")
    assert (status, "Give the run folder, before the images" in err) == (2, True)
    status, _, err = crosscam("gallery add h")
    assert (status, "Expected the images to add" in err) == (2, True)


def test_the_old_name_of_limit_is_taken_and_not_both(crosscam: Run, place: Path) -> None:
    image = min((place / "people/query").glob("*.jpg"))
    assert crosscam("gallery create g run")[0] == 0
    assert crosscam("gallery add g run people")[0] == 0
    for option in ("--k 2", "--limit 2", "--limit=2"):
        assert len(json.loads(crosscam(f"gallery search g run {image} {option} --json")[1])) == 2
    assert "given twice" in crosscam(f"gallery search g run {image} --k 2 --limit 3")[2]


def test_hits_are_whole_on_a_narrow_terminal(crosscam: Run, gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show.OUT, "width", 60)
    lines = crosscam(f"gallery search g run 'own/{SOUTH}/000.jpg' --limit 3")[1].splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["rank", "distance", "entry", "camera", "image"]
    assert all(line.rstrip().endswith(".jpg") and str(gallery) in line for line in lines[1:])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gallery update g --set-camid 3", "Did you mean --camera?"),
        ("gallery search g run a.jpg --top 3", "Did you mean --limit?"),
        ("gallery forget g --since 2h", "Did you mean --time-from?"),
        ("gallery forget g --camid 3", "Did you mean --cameras?"),
    ],
)
def test_other_words_for_an_option_are_understood(crosscam: Run, typed: str, meant: str) -> None:
    status, _, err = crosscam(typed)
    assert (status, meant in err) == (2, True), err


def test_broken_files_end_with_the_same_status(crosscam: Run, by_camera: Path) -> None:
    (by_camera / "own" / SOUTH / "broken.jpg").write_bytes(b"no image")
    assert crosscam("gallery create g run")[0] == 0
    for command in ("extract run own v.npz", "gallery add g run own", "demo --photos own --out pairs"):
        status, _, err = crosscam(command)
        assert status == 2, command
        assert "broken.jpg" in err.splitlines()[-1], command
    assert f"cam {SOUTH}" in (by_camera / "pairs/pairs.html").read_text(encoding="utf-8")
    (by_camera / "bad").mkdir()
    (by_camera / "bad/a.jpg").write_bytes(b"no image")
    assert "None of the 1 images can be read" in crosscam("extract run bad bad.npz")[2]


def test_videos_and_photographs_of_phones_are_told(crosscam: Run, by_camera: Path) -> None:
    (by_camera / "hall.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    for number in range(40):
        (by_camera / "own" / SOUTH / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert crosscam("gallery create g run")[0] == 0
    for command in ("extract run hall.mp4 v.npz", "gallery add g run hall.mp4", "demo --photos hall.mp4 --out p"):
        status, _, err = crosscam(command)
        assert (status, "hall.mp4 is a video" in err, len(err.splitlines())) == (2, True, 1), err
    assert not (by_camera / "v.npz").exists()
    assert not (by_camera / "p").exists()
    (by_camera / "videos").mkdir()
    (by_camera / "videos/a.mov").write_bytes(b"x")
    assert "No images in" in crosscam("gallery add g run videos")[2]
    assert "1 video was left out" in crosscam("gallery add g run videos")[2]
    for command in ("extract run own v.npz", "gallery add g run own", "demo --photos own --out q"):
        status, _, err = crosscam(command)
        assert status == 0, err
        assert "warning: 40 HEIC photographs (iPhone) were left out, beside" in err, command
    # A phone's photograph under another name.
    (by_camera / "photo.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert "photo.jpg is a HEIC photograph (iPhone)" in crosscam("gallery add g run photo.jpg")[2]


def test_joined_data_take_an_option_where_it_means_something(crosscam: Run, place: Path) -> None:
    shutil.copytree(place / "people/query", place / "more")
    (place / "a.csv").write_text(f"path,pid\nmore/{min((place / 'more').iterdir()).name},1\n")
    status, _, err = crosscam("data join j.csv people a.csv --camids 1")
    assert status == 0, err
    assert "note: --camids counts for a.csv alone." in err
    status, _, err = crosscam("data join j.csv people people --boxes labeled")
    assert (status, "--boxes means nothing for any of these datasets" in err) == (2, True)


def test_demo_photos_with_one_camera_does_not_speak_of_several(crosscam: Run, by_camera: Path) -> None:
    status, _, err = crosscam(f"demo --photos 'own/{SOUTH}' --out one")
    assert status == 0, err
    assert "across cameras" not in err
    assert "query" not in err
    page = (by_camera / "one/pairs.html").read_text(encoding="utf-8")
    assert ", 1 camera, described" in page


def test_a_recipe_says_what_it_takes(crosscam: Run) -> None:
    status, out, err = crosscam("recipes demo")
    assert status == 0
    for row in ("parameters", "memory to expect", "time to expect", "12,936 images"):
        assert row in out
    assert "counted on the network without running it" in err
    assert crosscam("recipes demo --images 0")[0] == 2


@pytest.mark.parametrize(("trained", "warned"), [(0.19, True), (0.6, False)])
def test_a_demo_that_learned_nothing_says_so(
    crosscam: Run, monkeypatch: pytest.MonkeyPatch, trained: float, warned: bool
) -> None:
    scores = [SimpleNamespace(result=SimpleNamespace(mAP=mAP)) for mAP in (trained, 0.1, 0.4)]
    hit = SimpleNamespace(entry=SimpleNamespace(path="a.jpg"), distance=0.3)
    shown = SimpleNamespace(
        gallery="g", entries=3, query=SimpleNamespace(path=Path("q.jpg")), hits=[hit], num_right=1, hits_page="h",
        pair_page="p",
    )  # fmt: skip
    monkeypatch.setattr(demo.Demo, "_people", lambda *_: None)
    monkeypatch.setattr(demo, "run_shown", lambda *_, **__: scores)
    monkeypatch.setattr(demo, "demonstrate", lambda *_: shown)
    monkeypatch.setattr(demo, "demonstrate_videos", lambda *_: SimpleNamespace(idf1=1.0))
    status, _, err = crosscam("demo --out quick --ids 60 --set train.epochs=5")
    assert status == 0
    assert (
        "warning: This training was too short to learn: raw pixels, without any network, get 40.0 %" in err
    ) is warned
