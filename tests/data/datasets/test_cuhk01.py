from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.cuhk import is_cuhk01, read_cuhk01
from crosscam.errors import DataError


def make(folder: Path, num_ids: int = 7) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for person in range(1, num_ids + 1):
        for view in range(1, 5):
            (folder / f"{person:04}{view:03}.png").touch()


def test_views_are_two_cameras(tmp_path: Path) -> None:
    make(tmp_path / "campus")
    assert is_cuhk01(tmp_path)
    assert is_cuhk01(tmp_path / "campus")
    dataset = read_cuhk01(tmp_path)
    assert len({s.pid for s in dataset.train}) == 3
    assert len(dataset.train) == 12
    assert len(dataset.query) == len(dataset.gallery) == 8
    assert {s.path.stem[-1] for s in dataset.query} == {"1", "2"}
    assert {s.path.stem[-1] for s in dataset.gallery} == {"3", "4"}
    assert {s.camid for s in dataset.query} == {1}
    assert {s.camid for s in dataset.gallery} == {2}
    assert not {s.pid for s in dataset.train} & {s.pid for s in dataset.query}
    assert {int(s.path.name[:4]) == s.pid for s in (*dataset.train, *dataset.gallery)} == {True}


def test_counted_crops_and_single_cameras_are_other_images(tmp_path: Path) -> None:
    """0000001.jpg, 0000002.jpg, ... of a tracker would be four images of nobody 0, and so on, under wrong names."""
    for folder, names in {
        "counted": [f"{n:07}.jpg" for n in range(1, 30)],
        "few": ["0000001.jpg", "0000002.jpg"],
        "gate": ["0007001.png", "0007002.png", "0008001.png"],
        "mixed": ["0007001.png", "0007003.png", "anna.png"],
    }.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
        assert not is_cuhk01(tmp_path / folder)


def test_protocols(tmp_path: Path) -> None:
    make(tmp_path, 130)
    assert len({s.pid for s in read_cuhk01(tmp_path, protocol="871/100").query}) == 100
    assert len({s.pid for s in read_cuhk01(tmp_path, protocol="all").query}) == 130
    assert read_cuhk01(tmp_path).query != read_cuhk01(tmp_path, split=1).query
    with pytest.raises(ValueError, match="485/486"):
        read_cuhk01(tmp_path, protocol="half")


def test_too_few_for_the_protocol(tmp_path: Path) -> None:
    make(tmp_path, 100)
    with pytest.raises(DataError, match="100 identities"):
        read_cuhk01(tmp_path, protocol="871/100")


def test_other_views_are_noted(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "0001005.png").touch()
    assert any("0001005.png" in note for note in read_cuhk01(tmp_path).notes)
