"""LaST, Celeb-reID and P-DukeMTMC-reID by folders of their published structure, and distractors."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from crosscam.data.datasets.readers import read_dataset, recognize, with_distractors
from crosscam.data.datasets.without_cameras import read_celeb_reid, read_last
from crosscam.data.doctor import OFFICIAL
from crosscam.data.records import Sample, unmatched_queries
from crosscam.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(samples: tuple[Sample, ...]) -> list[tuple[str, int, int]]:
    return [(s.path.name, s.pid, s.camid) for s in samples]


def test_last(tmp_path: Path) -> None:
    train = ["train/000001/000001_a_12_1.jpg", "train/000001/000001_b_13_2.jpg", "train/000003/000003_a_1_1.jpg"]
    tested = [f"{part}/{where}" for part in ("test", "val") for where in (
        "query/000003_x_7.jpg", "gallery/000003/000003_x_8.jpg", "gallery/000000/000000_x_9.jpg"
    )]  # fmt: skip
    touch(tmp_path / "last", *train, *tested)
    assert recognize(tmp_path) == ("last", tmp_path / "last")
    dataset = read_dataset(tmp_path)
    assert [s.pid for s in dataset.train] == [1, 1, 3]
    assert found(dataset.query) == [("000003_x_7.jpg", 6, 1)]
    assert found(dataset.gallery) == [("000000_x_9.jpg", 0, 2), ("000003_x_8.jpg", 6, 2)]
    assert any("plus 3" in note for note in dataset.notes)
    assert read_dataset(tmp_path, protocol="val").name == "last-val"
    with pytest.raises(ValueError, match="Expected one of test, val"):
        read_last(tmp_path / "last", protocol="train")


def test_celeb_reid(tmp_path: Path) -> None:
    touch(tmp_path, "train/1_1_0.jpg", "train/2_10_0.jpg", "query/1_3_0.jpg", "gallery/1_4_1.jpg", "gallery/5_1_0.jpg")
    assert recognize(tmp_path) == ("celeb-reid", tmp_path)
    dataset = read_dataset(tmp_path)
    assert found(dataset.train) == [("1_1_0.jpg", 1, 1), ("2_10_0.jpg", 2, 1)]
    assert found(dataset.query) == [("1_3_0.jpg", 3, 1)]
    assert found(dataset.gallery) == [("1_4_1.jpg", 3, 2), ("5_1_0.jpg", 7, 2)]
    assert not unmatched_queries(dataset)
    touch(tmp_path, "gallery/nobody.jpg")
    assert any("nobody.jpg" in note for note in read_celeb_reid(tmp_path).notes)


def test_p_dukemtmc(tmp_path: Path) -> None:
    parts = [f"{p}/{k}_body_images" for p in ("train", "test") for k in ("occluded", "whole")]
    touch(tmp_path, *(f"{part}/000{n}/000{n}_c2_f00461.jpg" for n, part in zip((1, 1, 3, 3), parts, strict=True)))
    assert recognize(tmp_path) == ("p-dukemtmc-reid", tmp_path)
    dataset = read_dataset(tmp_path)
    assert [(s.pid, s.camid) for s in dataset.train] == [(1, 1), (1, 2)]
    assert [(s.pid, s.camid) for s in (*dataset.query, *dataset.gallery)] == [(3, 1), (3, 2)]
    (tmp_path / parts[3] / "0003/0003_c2_f00461.jpg").unlink()
    with pytest.raises(DataError, match="No images named IDENTITY_NUMBER"):
        read_dataset(tmp_path)


def test_published_counts_add_up() -> None:
    images = {
        name: sum(counts.images or 0 for subset, counts in OFFICIAL[name].items() if subset in subsets)
        for name, subsets in (
            ("last", ("query", "gallery")),
            ("celeb-reid", OFFICIAL["celeb-reid"]),
            ("p-dukemtmc-reid", OFFICIAL["p-dukemtmc-reid"]),
        )
    }
    assert images == {"last": 135_529, "celeb-reid": 34_186, "p-dukemtmc-reid": 24_143}


def test_distractors_join_the_gallery_and_match_nobody(tmp_path: Path) -> None:
    folders = ("bounding_box_train", "query", "bounding_box_test")
    touch(tmp_path / "market", *(f"{f}/0002_c{n}s1_000451_03.jpg" for n, f in enumerate(folders, start=1)))
    touch(tmp_path / "500k", "1/0000_c1s1_000001_00.jpg", "2/other.jpg", "2/readme.txt")
    plain = read_dataset(tmp_path / "market")
    dataset = read_dataset(tmp_path / "market", distractors=tmp_path / "500k")
    assert dataset.gallery[:1] == plain.gallery
    assert [(s.pid, s.path.name) for s in dataset.gallery[1:]] == [(0, "0000_c1s1_000001_00.jpg"), (0, "other.jpg")]
    assert dataset.name == "market1501-distractors"
    assert dataset.fingerprint() != plain.fingerprint()
    for here, there in (("market", "copy/of/market"), ("500k", "elsewhere")):
        (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(tmp_path / here, tmp_path / there)
    copied = read_dataset(tmp_path / "copy/of/market", distractors=tmp_path / "elsewhere")
    assert copied.fingerprint() == dataset.fingerprint()
    (tmp_path / "elsewhere/2/other.jpg").rename(tmp_path / "elsewhere/1/other.jpg")
    copied = read_dataset(tmp_path / "copy/of/market", distractors=tmp_path / "elsewhere")
    assert copied.fingerprint() != dataset.fingerprint()
    assert any("2 distractors of" in note for note in dataset.notes)
    (tmp_path / "link").symlink_to(tmp_path / "market")
    own = "images of the dataset itself"
    for folder, message in (
        (tmp_path / "none", "No folder"),
        (tmp_path / "market", own),
        (tmp_path / "link/bounding_box_test", own),
    ):
        with pytest.raises(DataError, match=message):
            read_dataset(tmp_path / "market", distractors=folder)
    with pytest.raises(DataError, match="one gallery image of each identity"):
        with_distractors(replace(plain, protocol="cuhk03"), tmp_path / "500k")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        read_dataset(tmp_path / "market", distractors=tmp_path / "empty")
