from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.small_sets import is_viper, read_viper
from crosscam.errors import DataError


def make(root: Path, num_ids: int = 9) -> Path:
    for folder, view in (("cam_a", 0), ("cam_b", 90)):
        (root / folder).mkdir(parents=True)
        for person in range(num_ids):
            (root / folder / f"{person:03}_{view}.bmp").touch()
    return root


def test_halves(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert is_viper(root)
    dataset = read_viper(root)
    tested = {s.pid for s in dataset.query}
    assert len(dataset.query) == len(dataset.gallery) == len(tested) == 5
    assert {s.pid for s in dataset.gallery} == tested
    assert {s.pid for s in dataset.train} == set(range(1, 10)) - tested
    assert {s.camid for s in dataset.query} == {1}
    assert {s.camid for s in dataset.gallery} == {2}
    assert all(s.path.parent.name == "cam_a" for s in dataset.query)
    assert min(s.pid for s in (*dataset.train, *dataset.query)) == 1  # 000 is a person, not a distractor


def test_splits_differ_and_repeat(tmp_path: Path) -> None:
    root = make(tmp_path, 40)
    tested = [frozenset(s.pid for s in read_viper(root, split=k).query) for k in range(10)]
    assert len(set(tested)) == 10
    assert frozenset(s.pid for s in read_viper(root, split=3).query) == tested[3]


def test_all_are_tested(tmp_path: Path) -> None:
    dataset = read_viper(make(tmp_path), protocol="all")
    assert dataset.train == ()
    assert len(dataset.query) == len(dataset.gallery) == 9
    assert dataset.name == "viper-all"


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="316/316"):
        read_viper(make(tmp_path / "a"), protocol="half")
    with pytest.raises(DataError, match="No images"):
        read_viper(make(tmp_path / "b", 0))
