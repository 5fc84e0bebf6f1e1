"""A table goes to FiftyOne and comes back by FiftyOne's own CSVDataset, as docs/datasets.md says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crosscam.data import read_table, write_table
from crosscam.data.records import ReidDataset, Sample

FIELDS = {"pid": int, "camid": int, "split": str, "time": float, "track": str, "camera": str}


def made(root: Path) -> ReidDataset:
    def image(name: str) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 4, 3), np.uint8)).save(path)
        return path

    return ReidDataset(
        "people",
        root,
        train=(
            Sample(image("a/1.jpg"), 1, 1, 12.25, "t, 1", "Yard"),
            Sample(image("b/1.jpg"), 2, 2, camera="Door"),
        ),
        query=(Sample(image("a/2.jpg"), 1, 2, camera="Door"),),
        gallery=(Sample(image("a/3.jpg"), 1, 1, camera="Yard"),),
    )


def test_what_fiftyone_writes_is_read(tmp_path: Path) -> None:
    dataset = made(tmp_path / "people")
    rows = ["path,pid,camid,split,time,track,camera"]
    for split, samples in dataset.subsets.items():
        for s in samples:
            track = f'"{s.track}"' if s.track else ""
            rows.append(f"{s.path},{s.pid},{s.camid},{split},{s.time or ''},{track},{s.camera}")
    (tmp_path / "back.csv").write_text("\r\n".join([*rows, ""]), encoding="utf-8")
    assert read_table(tmp_path / "back.csv").subsets == dataset.subsets


def test_there_and_back_by_fiftyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its reader and writer work without its database, which is not started.
    monkeypatch.setenv("FIFTYONE_DISABLE_SERVICES", "1")
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "1")
    csv = pytest.importorskip("fiftyone.utils.csv", reason="needs pip install fiftyone")
    dataset = made(tmp_path / "people")
    write_table(dataset, tmp_path / "people" / "people.csv")
    reader = csv.CSVDatasetImporter(
        data_path=os.fspath(tmp_path / "people"),
        labels_path=os.fspath(tmp_path / "people" / "people.csv"),
        media_field="path",
        fields=dict(FIELDS),
    )
    reader.setup()
    samples = list(reader)
    assert {type(s["pid"]) for s in samples} == {int}

    class Collection:
        def values(self, names: list[str]) -> list[list[Any]]:
            return [[s[name] if name in s.field_names else None for s in samples] for name in names]

        def __len__(self) -> int:
            return len(samples)

    writer = csv.CSVDatasetExporter(
        labels_path=os.fspath(tmp_path / "back.csv"),
        export_media=False,
        abs_paths=True,
        fields={"filepath": "path", **{name: name for name in FIELDS}},
    )
    writer.setup()
    writer.export_samples(Collection(), progress=False)
    writer.close()
    assert read_table(tmp_path / "back.csv").subsets == dataset.subsets
