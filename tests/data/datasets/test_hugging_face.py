from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crosscam.data import from_hugging_face, read_dataset, to_hugging_face
from crosscam.data.datasets.hugging_face import columns_of, write_rows
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import DataError

Rows = list[dict[str, Any]]


def drawn(path: Path, color: int, kind: str = "JPEG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 4, 3), color, np.uint8)).save(path, kind)
    return path


def made(root: Path) -> ReidDataset:
    """Two people at two cameras, a distractor, times, tracks and names of cameras; two files of one name."""
    ann, bob = drawn(root / "ann" / "1.jpg", 10), drawn(root / "bob" / "1.jpg", 20)
    seen, other = drawn(root / "ann" / "2.jpg", 30), drawn(root / "0" / "3.png", 40, "PNG")
    return ReidDataset(
        "made",
        root,
        train=(Sample(ann, 1, 1, 12.25, "t, 1", "Yard"), Sample(bob, 2, 2, None, None, "Door")),
        query=(Sample(seen, 1, 2, camera="Door"),),
        gallery=(Sample(ann, 1, 1, 12.25, "t, 1", "Yard"), Sample(other, 0, 1, camera="Yard")),
    )


def rows_of(columns: Mapping[str, list[Any]]) -> Rows:
    """What ``datasets`` gives row by row, with images that are not decoded."""
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return [{**row, "image": {"bytes": None, "path": row["image"]}} for row in rows]


def told(dataset: ReidDataset) -> dict[str, list[tuple[object, ...]]]:
    """All that a dataset says, with the images' bytes in place of their paths."""
    return {
        name: sorted((s.path.read_bytes(), s.pid, s.camid, s.time, s.track, s.camera) for s in subset)
        for name, subset in dataset.subsets.items()
    }


def test_columns_and_back(tmp_path: Path) -> None:
    dataset = made(tmp_path / "data")
    splits = columns_of(dataset)
    assert list(splits) == ["train", "query", "gallery"]
    assert {tuple(columns) for columns in splits.values()} == {
        ("image", "pid", "camid", "time", "track", "camera", "path")
    }
    assert splits["train"]["path"] == ["ann/1.jpg", "bob/1.jpg"]
    assert splits["train"]["time"] == [12.25, None]
    table = write_rows({name: rows_of(columns) for name, columns in splits.items()}, tmp_path / "back")
    back = read_dataset(table)
    assert told(back) == told(dataset)
    assert [s.path.relative_to(back.root).as_posix() for s in back.train] == ["ann/1.jpg", "bob/1.jpg"]


def test_only_columns_that_say_something(tmp_path: Path) -> None:
    image = drawn(tmp_path / "a.jpg", 1)
    dataset = ReidDataset("plain", tmp_path / "elsewhere", train=(Sample(image, 1, 1),), protocol="allshots")
    assert columns_of(dataset) == {
        "train": {"image": [str(image)], "pid": [1], "camid": [1], "protocol": ["allshots"], "path": ["a.jpg"]}
    }
    table = write_rows({"train": rows_of(columns_of(dataset)["train"])}, tmp_path / "back")
    assert read_dataset(table).protocol == "allshots"


@pytest.mark.parametrize("path", [None, "../out.jpg", "/out.jpg", "a\\out.jpg", "c:out.jpg", "out.txt", ".jpg", 7])
def test_paths_that_lead_elsewhere_are_not_followed(tmp_path: Path, path: object) -> None:
    data = drawn(tmp_path / "a.png", 1, "PNG").read_bytes()
    rows = [{"image": {"bytes": data, "path": None}, "pid": 4, "camid": 1, "path": path}]
    table = write_rows({"train": rows}, tmp_path / "one" / "out")
    assert [s.path for s in read_dataset(table).train] == [tmp_path / "one" / "out" / "train" / "000000.png"]
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["out"]


def test_names_are_labels_as_in_a_table(tmp_path: Path) -> None:
    image = {"bytes": drawn(tmp_path / "a.jpg", 1).read_bytes(), "path": "a.jpg"}
    rows = [{"image": image, "pid": name, "camid": "yard"} for name in ("zoe", "ann")]
    back = read_dataset(write_rows({"train": rows}, tmp_path / "out"))
    assert [(s.path.name, s.pid, s.camera) for s in back.train] == [
        ("000000.jpg", 2, "yard"),
        ("000001.jpg", 1, "yard"),
    ]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": []}, "splits test. Expected some of train, query and gallery"),
        ({}, "splits .none."),
        ({"train": [{"pid": 1}]}, "no column 'image'. Expected image, pid"),
        ({"train": [{"image": None}]}, "no column 'pid'"),
        ({"train": [{"image": None, "pid": 1}]}, "split train, row 0: no image"),
        ({"train": [{"image": {"bytes": b"text", "path": None}, "pid": 1}]}, "split train, row 0: no image in one of"),
        ({"train": [{"image": {"bytes": None, "path": "gone.jpg"}, "pid": 1}]}, "row 0: gone.jpg cannot be read"),
    ],
)
def test_what_is_no_dataset_is_one_line_and_leaves_nothing(tmp_path: Path, splits: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        write_rows(splits, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# A folder named "datasets" on the path is imported where the library is missing: a module that holds nothing.
@pytest.mark.parametrize("found", [None, ModuleType("datasets")])
def test_missing_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: ModuleType | None) -> None:
    monkeypatch.setitem(sys.modules, "datasets", found)
    with pytest.raises(DataError, match=r"pip install 'crosscam\[huggingface\]'"):
        to_hugging_face(made(tmp_path))
    with pytest.raises(DataError, match=r"pip install 'crosscam\[huggingface\]'"):
        from_hugging_face(tmp_path, tmp_path / "out")


def test_a_saved_folder_says_how_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"crosscam.data.from_hugging_face"):
        read_dataset(tmp_path)


def library() -> Any:
    found = pytest.importorskip("datasets", reason="needs pip install 'crosscam[huggingface]'")
    if not hasattr(found, "Features"):  # the folder of these tests goes by that name
        pytest.skip("needs pip install 'crosscam[huggingface]'")
    return found


def test_there_and_back_by_the_library(tmp_path: Path) -> None:
    library()
    dataset = made(tmp_path / "data")
    data = to_hugging_face(dataset)
    assert {name: split.num_rows for name, split in data.items()} == {"train": 2, "query": 1, "gallery": 2}
    assert data["train"][0]["image"].size == (4, 8)
    data.save_to_disk(str(tmp_path / "saved"))
    expected = told(dataset)
    (tmp_path / "data").rename(tmp_path / "moved")  # what was saved holds the images itself
    back = from_hugging_face(tmp_path / "saved", tmp_path / "back")
    assert told(back) == expected
    assert read_dataset(tmp_path / "back" / "images.csv") == back
    again = from_hugging_face(to_hugging_face(replace(back, name="made")), tmp_path / "again")
    assert told(again) == expected
    with pytest.raises(DataError, match="not empty"):
        from_hugging_face(data, tmp_path / "back")


def test_classes_images_in_memory_and_streams(tmp_path: Path) -> None:
    datasets = library()
    features = datasets.Features(
        {"image": datasets.Image(), "pid": datasets.ClassLabel(names=["zoe", "ann"]), "extra": datasets.Value("string")}
    )
    images = [Image.fromarray(np.full((8, 4, 3), color, np.uint8)) for color in (1, 2)]
    data = datasets.Dataset.from_dict({"image": images, "pid": [0, 1], "extra": ["x", "y"]}, features=features)
    for place, source in (("one", data), ("two", data.to_iterable_dataset())):
        back = from_hugging_face(source, tmp_path / place, camids=3)
        assert [(s.path.name, s.pid, s.camid) for s in back.train] == [("000000.png", 2, 3), ("000001.png", 1, 3)]
        assert not back.query


def test_other_folders_are_one_line(tmp_path: Path) -> None:
    library()
    with pytest.raises(DataError, match="not a folder that save_to_disk") as caught:
        from_hugging_face(tmp_path, tmp_path / "out")
    assert "\n" not in str(caught.value)
