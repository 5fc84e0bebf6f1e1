"""Which camera took an image, and datasets by camera."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from crosscam.data.datasets.camera_folders import tell_cameras
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.datasets.table import read_table, write_table
from crosscam.data.datasets.unlabeled import find_images, read_images
from crosscam.data.doctor import examine_dataset
from crosscam.errors import ArgumentError, DataError


def draw(*paths: Path) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16), (len(path.name), 3, 9)).save(path)
    return list(paths)


def cameras_of(paths: list[Path], root: Path, rule: str | None = None, camera: str | None = None) -> list[object]:
    return [s.camera or s.camid for s in tell_cameras(paths, root, rule, [], camera=camera)]


def test_folders_name_their_cameras(tmp_path: Path) -> None:
    places = ["Kamera Süd/a.jpg", "Kamera Süd/2026-11-24/b.jpg", "hall 10/c.jpg", "hall 9/d.jpg"]
    paths = draw(*(tmp_path / place for place in places))
    notes: list[str] = []
    told = tell_cameras(paths, tmp_path, None, notes)
    assert [s.camera for s in told] == ["Kamera Süd", "Kamera Süd", "hall 10", "hall 9"]
    assert [s.camid for s in told] == [1, 1, 3, 2]
    assert notes == ["Each folder is a camera: Kamera Süd, hall 9, hall 10."]


def test_folders_that_are_numbers_are_the_cameras_numbers(tmp_path: Path) -> None:
    paths = draw(tmp_path / "7/a.jpg", tmp_path / "3/b.jpg", tmp_path / "yard/c.jpg")
    assert cameras_of(paths, tmp_path) == [7, 3, "yard"]
    assert [s.camid for s in tell_cameras(paths, tmp_path, None, [])] == [7, 3, 8]


def test_two_folders_of_one_number_are_one_camera_with_a_note(tmp_path: Path) -> None:
    paths = draw(tmp_path / "01/a.jpg", tmp_path / "1/b.jpg", tmp_path / "2/c.jpg")
    notes: list[str] = []
    assert [s.camid for s in tell_cameras(paths, tmp_path, None, notes)] == [1, 1, 2]
    assert "1 camera spelled in several ways; each is one: 01 = 1." in notes


def test_one_folder_is_one_camera_of_its_name(tmp_path: Path) -> None:
    paths = draw(tmp_path / "yard/a.jpg", tmp_path / "yard/b.jpg")
    notes: list[str] = []
    assert [(s.camid, s.camera) for s in tell_cameras(paths, tmp_path / "yard", None, notes)] == [(1, "yard")] * 2
    assert notes[0].startswith("Nothing tells the cameras")


def test_the_user_tells_the_camera(tmp_path: Path) -> None:
    paths = draw(tmp_path / "x/cam3/a.jpg", tmp_path / "x/cam4/b_c9.jpg")
    assert cameras_of(paths, tmp_path, camera="Kamera Süd") == ["Kamera Süd"] * 2
    assert cameras_of(paths, tmp_path, camera="12") == [12, 12]
    assert cameras_of(paths, tmp_path, "/cam([0-9])/") == [3, 4]
    assert cameras_of(paths, tmp_path, "/x/([^/]+)/") == ["cam3", "cam4"]
    assert cameras_of(paths, tmp_path, "5") == [5, 5]
    with pytest.raises(ArgumentError, match="Give one of them"):
        cameras_of(paths, tmp_path, "5", "Hall")
    with pytest.raises(ArgumentError, match="name of a camera"):
        cameras_of(paths, tmp_path, camera="nan")
    with pytest.raises(DataError, match=r"finds no camera in 1 of 2 paths, such as /x/cam4/b_c9\.jpg"):
        cameras_of(paths, tmp_path, "/(cam3)/")


def test_images_of_nobody_known_are_examined(tmp_path: Path) -> None:
    draw(tmp_path / "hall/a.jpg", tmp_path / "yard/bb.jpg")
    found = examine_dataset(read_images(tmp_path))
    assert [f.code for f in found.findings] == []
    assert (found.subsets[2].found.ids, found.subsets[2].found.images, found.subsets[2].found.cameras) == (0, 2, 2)
    assert "Each folder is a camera: hall, yard." in found.notes
    (alone,) = examine_dataset(read_images(tmp_path / "hall")).findings
    assert alone.code == "one_camera"
    assert "query" not in alone.what
    assert "--camids" in alone.cure


def test_a_folder_for_each_camera_with_people_in_it(tmp_path: Path) -> None:
    draw(*(tmp_path / camera / who / f"{who}.jpg" for camera in ("Nord", "Süd") for who in ("anna", "bert", "cem")))
    dataset = read_dataset(tmp_path)
    assert dataset.name == "cameras"
    assert {(s.camera, s.camid) for s in dataset.train} == {("Nord", 1), ("Süd", 2)}
    assert {(s.path.parent.name, s.pid) for s in dataset.train} == {("anna", 1), ("bert", 2), ("cem", 3)}
    assert "Each folder is a camera: Nord, Süd." in dataset.notes


def test_people_for_cameras_are_not_taken_in_silence(tmp_path: Path) -> None:
    draw(*(tmp_path / who / camera / "a.jpg" for camera in ("Nord", "Süd") for who in ("anna", "bert", "cem")))
    with pytest.raises(
        DataError, match=r"3 folders with 2 names of folders in them\. Expected a folder for each camera"
    ):
        read_dataset(tmp_path)


def test_names_survive_a_table(tmp_path: Path) -> None:
    draw(*(tmp_path / camera / who / "a.jpg" for camera in ("Nord", "Süd") for who in ("anna", "bert")))
    dataset = read_dataset(tmp_path)
    for name in ("t.csv", "t.parquet"):
        write_table(dataset, tmp_path / name)
        assert read_table(tmp_path / name).train == dataset.train


def test_a_table_names_its_cameras(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "b.jpg")

    def read(text: str) -> list[tuple[int, str | None]]:
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        return [(s.camid, s.camera) for s in read_table(tmp_path / "t.csv").train]

    assert read("path,pid,camid\na.jpg,1,Süd\nb.jpg,2,Nord\n") == [(2, "Süd"), (1, "Nord")]
    assert read("path,pid,camera\na.jpg,1,Süd\nb.jpg,2,Nord\n") == [(2, "Süd"), (1, "Nord")]
    assert read("path,pid,camid,camera\na.jpg,1,7,Süd\nb.jpg,2,8,\n") == [(7, "Süd"), (8, None)]
    # A column of makers, and not of names.
    assert read("path,pid,camid,camera\na.jpg,1,7,Axis\nb.jpg,2,8,Axis\n") == [(7, None), (8, None)]
    assert read("path,pid,camid\na.jpg,1,7\nb.jpg,2,08\n") == [(7, None), (8, None)]


def test_times_of_a_table_are_seconds_or_dates(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "b.jpg")
    (tmp_path / "t.csv").write_text("path,pid,camid,time\na.jpg,1,1,2026-11-24 08:30\nb.jpg,1,1,12.5\n")
    assert sorted(s.time or 0 for s in read_table(tmp_path / "t.csv").train) == [12.5, 1_795_509_000.0]


def test_a_spreadsheet_s_semicolons_are_read(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    (tmp_path / "t.csv").write_bytes("\ufeffpath;pid;camid\r\na.jpg;3;Süd, hinten\r\n".encode())
    (sample,) = read_table(tmp_path / "t.csv").train
    assert (sample.pid, sample.camera) == (3, "Süd, hinten")


def test_videos_and_foreign_photographs_are_named_for_what_they_are(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    for number in range(30):
        (tmp_path / f"IMG_{number:03}.HEIC").write_bytes(b"x")
    (tmp_path / "hall.mp4").write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    images, told = find_images(tmp_path)
    assert len(images) == 1
    heic, video, rest = sorted(told, key=lambda t: ("HEIC" not in t, "video" not in t))
    assert heic.startswith("warning: 30 HEIC photographs (iPhone) were left out, beside 1 image; first: ")
    assert "convert" in heic.lower()
    assert video.startswith("warning: 1 video was left out")
    assert "docs/video.md" in video
    assert rest.startswith("Left out: 1 file without an image's name; first: ")
    with pytest.raises(
        DataError, match=r"hall\.mp4 is a video, which this command does not read: 'crosscam watch' finds"
    ):
        find_images(tmp_path / "hall.mp4")
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"No images in .* 30 HEIC photographs"):
        find_images(tmp_path)
