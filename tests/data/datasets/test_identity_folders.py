from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.camera_folders import has_identity_folders, read_identity_folders
from crosscam.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_folders_are_identities(tmp_path: Path) -> None:
    root = touch(tmp_path, "bob/door_2.jpg", "bob/door_10.jpg", "ann/yard_1.jpg", "ann/list.txt", "readme.md")
    assert has_identity_folders(root)
    dataset = read_identity_folders(root, camids="([a-z]+)_")
    assert [(s.path.name, s.pid, s.camid) for s in dataset.train] == [
        ("yard_1.jpg", 1, 2),
        ("door_2.jpg", 2, 1),
        ("door_10.jpg", 2, 1),
    ]
    notes = " ".join(dataset.notes)
    for expected in ("ann = 1, bob = 2", "cameras: door, yard", "list.txt", "readme.md", "for training"):
        assert expected in notes


def test_cameras_are_never_guessed(tmp_path: Path) -> None:
    root = touch(tmp_path, "1/c1_2.jpg", "2/c2_2.jpg")
    with pytest.raises(DataError, match="does not say which camera"):
        read_identity_folders(root)
    assert {s.camid for s in read_identity_folders(root, camids=0).train} == {0}


def test_splits(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/4/a.png", "query/5/a.png", "gallery/5/b.png", "gallery/6/b.png")
    assert has_identity_folders(root)
    dataset = read_identity_folders(root, camids=1)
    assert {k: [s.pid for s in v] for k, v in dataset.subsets.items()} == {
        "train": [4],
        "query": [5],
        "gallery": [5, 6],
    }


def test_folder_zero_is_a_person(tmp_path: Path) -> None:
    dataset = read_identity_folders(touch(tmp_path, "0/a.jpg", "1/a.jpg", "10/a.jpg", "2/a.jpg"), camids=0)
    assert [(s.path.parent.name, s.pid) for s in dataset.train] == [("0", 1), ("1", 2), ("2", 3), ("10", 4)]
    assert any("folder 0 = 1" in note for note in dataset.notes)


def test_nothing_there(tmp_path: Path) -> None:
    assert not has_identity_folders(touch(tmp_path, "a/readme.txt"))
    with pytest.raises(DataError, match="No images"):
        read_identity_folders(tmp_path, camids=0)
