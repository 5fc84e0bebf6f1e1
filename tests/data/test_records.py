"""Datasets as they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.holdout import holdout
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import DataError


def test_a_dataset_is_shown_by_its_counts() -> None:
    samples = tuple(Sample(Path(f"{n}.jpg"), n // 2 + 1, 1) for n in range(4000))
    shown = repr(ReidDataset("mine", Path(), train=samples, query=samples[:2]))
    assert shown == (
        "ReidDataset('mine', train: 4,000 images of 2,000 people, query: 2 images of 1 person, "
        "gallery: 0 images of 0 people)"
    )
    nobody = tuple(Sample(Path(f"{pid}.jpg"), pid, 1) for pid in (-1, 0, 1))
    assert "gallery: 3 images of 1 person" in repr(ReidDataset("mine", Path(), gallery=nobody))


def test_messages_name_the_table_or_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "own.csv").write_text("path,pid,camid\na.jpg,1,1\n")
    with pytest.raises(DataError, match=r"own\.csv has 1 training identity\."):
        holdout(read_dataset(tmp_path / "own.csv"))
    assert ReidDataset("mine", tmp_path).place == tmp_path
