from __future__ import annotations

from pathlib import Path

from crosscam.data.datasets.market1501 import is_dukemtmc_reid, read_dukemtmc_reid


def make(root: Path, name: str) -> None:
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder).mkdir(parents=True)
        (root / folder / name).touch()


def test_frames_tell_duke_from_market(tmp_path: Path) -> None:
    make(tmp_path / "duke", "0001_c2_f0046182.jpg")
    make(tmp_path / "market", "0002_c1s1_000451_03.jpg")
    assert is_dukemtmc_reid(tmp_path / "duke")
    assert not is_dukemtmc_reid(tmp_path / "market")
    assert not is_dukemtmc_reid(tmp_path)


def test_read(tmp_path: Path) -> None:
    make(tmp_path, "0001_c8_f0046182.jpg")
    dataset = read_dukemtmc_reid(tmp_path)
    assert dataset.name == "dukemtmc-reid"
    assert [(s.pid, s.camid) for samples in dataset.subsets.values() for s in samples] == [(1, 8)] * 3
