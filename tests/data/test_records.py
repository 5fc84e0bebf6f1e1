"""Datasets as they are shown."""

from __future__ import annotations

from pathlib import Path

from crosscam.data.records import ReidDataset, Sample


def test_a_dataset_is_shown_by_its_counts() -> None:
    samples = tuple(Sample(Path(f"{n}.jpg"), n // 2 + 1, 1) for n in range(4000))
    shown = repr(ReidDataset("mine", Path(), train=samples, query=samples[:2]))
    assert shown == (
        "ReidDataset('mine', train: 4,000 images of 2,000 people, query: 2 images of 1 person, "
        "gallery: 0 images of 0 people)"
    )
    nobody = tuple(Sample(Path(f"{pid}.jpg"), pid, 1) for pid in (-1, 0, 1))
    assert "gallery: 3 images of 1 person" in repr(ReidDataset("mine", Path(), gallery=nobody))
