from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.msmt17 import is_msmt17, read_msmt17
from crosscam.data.datasets.readers import read_dataset
from crosscam.errors import DataError

LISTS = {
    "list_train.txt": ["0000/0000_000_05_0303morning_0008_0.jpg 0", "0002/0002_000_01_0303noon_0010_0.jpg 2"],
    "list_val.txt": ["0000/0000_001_15_0303morning_0009_0.jpg 0"],
    "list_query.txt": ["0000/0000_000_02_0303morning_0008_0.jpg 0"],
    "list_gallery.txt": ["0001/0001_000_03_0303morning_0008_0.jpg 1", "0000/0000_002_04_0303noon_0008_0.jpg 0"],
}


def make(root: Path, train: str = "train", test: str = "test") -> Path:
    for name, lines in LISTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n")
        for line in lines:
            image = root / (train if name in ("list_train.txt", "list_val.txt") else test) / line.split()[0]
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
    return root


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_both_versions(tmp_path: Path, folders: tuple[str, str]) -> None:
    root = make(tmp_path, *folders)
    assert is_msmt17(root)
    dataset = read_msmt17(root)
    assert dataset.name == "msmt17"
    # Two lists make the training; its pids 0 and 2 become 1 and 3, and the test begins after them, at 4.
    assert [(s.pid, s.camid) for s in dataset.train] == [(1, 5), (1, 15), (3, 1)]
    assert [(s.pid, s.camid) for s in dataset.query] == [(4, 2)]
    assert [(s.pid, s.camid) for s in dataset.gallery] == [(4, 4), (5, 3)]
    assert all(s.path.is_file() for samples in dataset.subsets.values() for s in samples)
    assert any("list_val.txt" in note for note in dataset.notes)
    assert any("from 4 in the test" in note for note in dataset.notes)


def test_without_validation_list(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "list_val.txt").unlink()
    assert len(read_msmt17(root).train) == 2


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "list_gallery.txt").unlink()
    with pytest.raises(DataError, match=r"list_gallery\.txt"):
        read_msmt17(root)
    (root / "list_gallery.txt").write_text("0009/0009_000_03_0303morning_0008_0.jpg 9\n")
    with pytest.raises(DataError, match=r"0009_000_03.*does not exist"):
        read_msmt17(root)
    (root / "list_gallery.txt").write_text("0001/0001.jpg 9\n")
    with pytest.raises(DataError, match="line 1"):
        read_msmt17(root)
    (root / "test").rename(root / "tests")
    with pytest.raises(DataError, match="no images"):
        read_msmt17(root)


def test_the_validation_list_can_be_left_out(tmp_path: Path) -> None:
    root = make(tmp_path)
    dataset = read_dataset(root, protocol="train")
    assert [(s.pid, s.camid) for s in dataset.train] == [(1, 5), (3, 1)]
    assert dataset.query == read_msmt17(root).query
    assert any("list_val.txt are left out" in note for note in dataset.notes)
    assert read_dataset(root, protocol="train+val").train == read_msmt17(root).train
    with pytest.raises(ValueError, match=r"no protocol 'val'\. Expected train\+val or train"):
        read_dataset(root, protocol="val")
