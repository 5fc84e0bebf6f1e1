"""CUHK02, GRID, PRID 2011, Occluded-REID and Partial-REID, by folders of their published structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam.data.datasets.cuhk import read_cuhk02
from crosscam.data.datasets.readers import read_dataset, recognize
from crosscam.data.datasets.small_sets import GRID_PARTITIONS, read_grid, read_prid2011
from crosscam.data.datasets.without_cameras import read_occluded
from crosscam.data.records import Sample, unmatched_queries
from crosscam.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(samples: tuple[Sample, ...]) -> list[tuple[str, int, int]]:
    return [(s.path.name, s.pid, s.camid) for s in samples]


def test_cuhk02_pairs_have_people_and_cameras_of_their_own(tmp_path: Path) -> None:
    names = [f"Dataset/P{k}/cam{c}/007_{c}.png" for k in range(1, 6) for c in (1, 2)]
    dataset = read_cuhk02(touch(tmp_path, *names))
    assert found(dataset.train[:2]) == [("007_1.png", 10_007, 1), ("007_2.png", 10_007, 2)]
    assert sorted({s.camid for s in dataset.train}) == list(range(1, 9))
    assert len({s.pid for s in dataset.train}) == 4
    assert found(dataset.query) == [("007_1.png", 50_007, 9)]
    assert found(dataset.gallery) == [("007_2.png", 50_007, 10)]
    (tmp_path / "Dataset/P5/cam2/007_2.png").unlink()
    with pytest.raises(DataError, match="No images of CUHK02's fifth pair"):
        read_cuhk02(tmp_path)


def test_prid_tests_half_of_the_shared_people_among_strangers(tmp_path: Path) -> None:
    shared = [f"single_shot/cam_{c}/person_{p:04}.png" for c in "ab" for p in range(1, 7)]
    alone = [
        "single_shot/cam_a/person_0201.png",
        "single_shot/cam_b/person_0201.png",
        "single_shot/cam_b/person_0202.png",
    ]
    dataset = read_prid2011(touch(tmp_path, *shared, *alone))
    trained, tested = {s.pid for s in dataset.train}, {s.pid for s in dataset.query}
    assert len(trained) == len(tested) == 3
    assert trained | tested == set(range(1, 7))
    assert sorted(s.pid for s in dataset.gallery) == [0, 0, *sorted(tested)]
    assert "Left out of cam_a: 1 person whom camera B never saw." in dataset.notes
    assert not unmatched_queries(dataset)
    assert {s.pid for s in read_prid2011(tmp_path, split=1).query} != tested
    with pytest.raises(DataError, match="Fewer than two people are in both cameras"):
        read_prid2011(touch(tmp_path / "b", "cam_a/person_0001.png", "cam_b/person_0002.png"))


def test_grid_follows_its_published_splits(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    touch(tmp_path, *(f"probe/000{p}_1_25_1_2_3_4.jpeg" for p in (1, 2, 3, 4)))
    touch(tmp_path, *(f"gallery/000{p}_{p + 2}_25_1_2_3_4.jpeg" for p in (0, 1, 2, 3, 4)))
    splits = np.empty((1, 2), dtype=object)
    for place, people in enumerate(([1, 3], [2, 4])):
        fields = [("one", object), ("two", object), ("three", object)]
        splits[0, place] = np.array([(np.zeros(1), np.zeros(1), np.array([people]))], dtype=fields).reshape(1, 1)
    scipy_io.savemat(tmp_path / GRID_PARTITIONS, {"trainIdxAll": splits})
    assert recognize(tmp_path) == ("grid", tmp_path)
    dataset = read_dataset(tmp_path, split=1)
    assert {s.pid for s in dataset.train} == {2, 4}
    assert len(dataset.train) == 4
    assert [(s.pid, s.camid) for s in dataset.query] == [(1, 1), (3, 1)]
    assert [(s.pid, s.camid) for s in dataset.gallery] == [(0, 2), (1, 3), (3, 5)]
    with pytest.raises(ValueError, match="GRID has the splits 0 to 1"):
        read_grid(tmp_path, split=2)
    (tmp_path / GRID_PARTITIONS).write_bytes(b"something else")
    with pytest.raises(DataError, match=r"does not hold GRID's splits"):
        read_grid(tmp_path)


@pytest.mark.parametrize(("hidden", "name"), [("occluded", "occluded-reid"), ("partial", "partial-reid")])
@pytest.mark.parametrize("folder", ["", "001/"])
def test_hidden_people_ask_for_whole_ones(tmp_path: Path, hidden: str, name: str, folder: str) -> None:
    touch(tmp_path, f"{hidden}_body_images/{folder}001_01.jpg", f"whole_body_images/{folder}001_02.jpg")
    touch(tmp_path, f"whole_body_images/{folder}front.jpg")
    dataset = read_occluded(tmp_path)
    assert dataset.name == name
    assert dataset.train == ()
    assert found(dataset.query) == [("001_01.jpg", 1, 1)]
    assert found(dataset.gallery) == [("001_02.jpg", 1, 2)]
    assert any("front.jpg" in note for note in dataset.notes)
    (tmp_path / f"{hidden}_body_images/{folder}001_01.jpg").unlink()
    with pytest.raises(DataError, match=rf"No images named IDENTITY_NUMBER in .*{hidden}_body_images"):
        read_occluded(tmp_path)
