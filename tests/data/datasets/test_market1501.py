from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.market1501 import is_market_layout, parse_market_name, read_market1501
from crosscam.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_names() -> None:
    assert parse_market_name("0002_c1s1_000451_03.jpg") == (2, 1)
    assert parse_market_name("-1_c3s2_000451_03.jpg") == (-1, 3)
    assert parse_market_name("0000_c6s1_000001_00.jpg") == (0, 6)
    assert parse_market_name("0005_c2_f0046985.jpg") == (5, 2)
    assert parse_market_name("1500_c12_9.png") == (1500, 12)
    assert parse_market_name("c1_0002.jpg") is None
    assert parse_market_name("-2_c1s1_0.jpg") is None


def test_three_subsets_in_order_with_junk_and_distractors(tmp_path: Path) -> None:
    touch(tmp_path / "bounding_box_train", "0010_c1s1_2_00.jpg", "0002_c2s1_10_00.jpg", "0002_c2s1_9_00.jpg")
    touch(tmp_path / "query", "0003_c1s1_1_00.jpg")
    touch(tmp_path / "bounding_box_test", "-1_c1s1_1_00.jpg", "0000_c1s1_1_00.jpg", "0003_c2s1_1_00.jpg", "Thumbs.db")
    dataset = read_market1501(tmp_path)
    assert [(s.path.name, s.pid, s.camid) for s in dataset.train] == [
        ("0002_c2s1_9_00.jpg", 2, 2),
        ("0002_c2s1_10_00.jpg", 2, 2),
        ("0010_c1s1_2_00.jpg", 10, 1),
    ]
    assert [s.pid for s in dataset.query] == [3]
    assert sorted(s.pid for s in dataset.gallery) == [-1, 0, 3]
    assert any("1 junk image (pid -1)" in note for note in dataset.notes)
    assert any("1 distractor (pid 0)" in note for note in dataset.notes)
    assert any("Thumbs.db" in note for note in dataset.notes)
    assert len(dataset.notes) == 3


def test_train_alone_is_read_with_a_note(tmp_path: Path) -> None:
    touch(tmp_path / "bounding_box_train", "0002_c1s1_1_00.jpg")
    dataset = read_market1501(tmp_path)
    assert len(dataset.train) == 1
    assert dataset.query == dataset.gallery == ()
    assert sum("has no folder" in note for note in dataset.notes) == 2


def test_training_leaves_out_people_without_identity(tmp_path: Path) -> None:
    touch(tmp_path / "bounding_box_train", "0002_c1s1_1_00.jpg", "0000_c1s1_1_00.jpg", "-1_c1s1_1_00.jpg")
    dataset = read_market1501(tmp_path)
    assert [s.pid for s in dataset.train] == [2]
    assert any("Left out of training: 2 images" in note for note in dataset.notes)


def test_a_strange_name_is_noted_and_only_strange_names_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "bounding_box_train", "0002_c1s1_1_00.jpg", "holiday.jpg")
    assert any("holiday.jpg" in note for note in read_market1501(tmp_path).notes)
    touch(tmp_path / "query", "holiday.jpg")
    with pytest.raises(DataError, match=r"holiday\.jpg"):
        read_market1501(tmp_path)


def test_empty_folders_are_an_error_and_one_empty_folder_a_note(tmp_path: Path) -> None:
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="No images in"):
        read_market1501(tmp_path)
    touch(tmp_path / "bounding_box_train", "0002_c1s1_1_00.jpg")
    assert any("folder query of" in note for note in read_market1501(tmp_path).notes)


def test_layout(tmp_path: Path) -> None:
    assert not is_market_layout(tmp_path)
    (tmp_path / "query").mkdir()
    assert not is_market_layout(tmp_path)
    (tmp_path / "bounding_box_test").mkdir()
    assert is_market_layout(tmp_path)
