"""Files of descriptors, read again: from an extraction and from an exported gallery."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from crosscam.errors import DataError
from crosscam.gallery import ModelIdentity, NewEntry, create_gallery
from crosscam.inference.descriptor_files import Entry, write_joined
from crosscam.inference.descriptor_tables import DescriptorFile, read_descriptors
from crosscam.models.output import Block

ENTRIES = [
    Entry(Path("a/1.jpg"), 3, 1, 12.5, "t1"),
    Entry(Path("a/2.jpg")),
    Entry(Path("b/ü.jpg"), -1, 2, None, None),
]
ROWS = np.eye(3, 4, dtype=np.float32)


@dataclass
class TwoParts:
    """What is written, as a part of two images and one of one."""

    written: list[Entry]

    def entries(self) -> Iterator[list[Entry]]:
        return iter([self.written[:2], self.written[2:]])

    def rows(self) -> Iterator[np.ndarray]:
        return iter([ROWS[:2], ROWS[2:]])


def check(found: DescriptorFile) -> None:
    assert list(found.paths) == [str(e.path) for e in ENTRIES]
    assert np.array_equal(found.descriptors, ROWS)
    assert found.descriptors.dtype == np.float32
    for name in ("pid", "camid", "time", "track"):
        assert list(getattr(found, f"{name}s")) == [getattr(e, name) for e in ENTRIES]
    assert len(found) == 3


@pytest.mark.parametrize("name", ["out.npz", "out.parquet", "out"])
def test_what_extract_writes_is_read_again(tmp_path: Path, name: str) -> None:
    if name != "out.npz":
        pytest.importorskip("pyarrow")
    write_joined(tmp_path / name, TwoParts(ENTRIES), "abcd1234")
    found = read_descriptors(tmp_path / name)
    check(found)
    assert found.fingerprint == "abcd1234"
    assert repr(found) == f"DescriptorFile({str(tmp_path / name)!r}, 3 images, 4 numbers, abcd...)"


def test_columns_that_a_file_lacks_are_not_known(tmp_path: Path) -> None:
    write_joined(tmp_path / "out.npz", TwoParts([Entry(e.path) for e in ENTRIES]), "abcd1234")
    found = read_descriptors(str(tmp_path / "out.npz"))
    assert list(found.pids) == list(found.times) == list(found.tracks) == [None] * 3


@pytest.mark.parametrize("name", ["out.npz", "out.parquet"])
def test_an_exported_gallery_is_read_again(tmp_path: Path, name: str) -> None:
    if name != "out.npz":
        pytest.importorskip("pyarrow")
    layout = (Block("all", 0, 4, 1, "global", (0.0, 1.0)),)
    with create_gallery(tmp_path / "g", layout, ModelIdentity("abcd1234", "small")) as gallery:
        entries = [NewEntry(str(e.path), 5 if e.camid is None else e.camid, e.pid, e.time, e.track) for e in ENTRIES]
        gallery.add(ROWS, entries, model="abcd1234")
        gallery.export(tmp_path / name)
    found = read_descriptors(tmp_path / name)
    assert list(found.camids) == [1, 5, 2]
    assert list(found.pids) == [3, None, -1]
    assert list(found.times) == [12.5, None, None]
    assert list(found.tracks) == ["t1", None, None]
    assert np.array_equal(found.descriptors, ROWS)
    assert found.fingerprint is None
    assert "..." not in repr(found)


def test_a_file_becomes_a_table(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    write_joined(tmp_path / "out.npz", TwoParts(ENTRIES), "abcd1234")
    table = read_descriptors(tmp_path / "out.npz").to_arrow()
    assert table.schema.field("descriptor").type == pyarrow.list_(pyarrow.float32(), 4)
    assert table.column("descriptor").to_pylist() == ROWS.tolist()
    assert table.column("pid").to_pylist() == [3, None, -1]
    assert table.column("time").to_pylist() == [12.5, None, None]
    pandas = pytest.importorskip("pandas")
    frame = read_descriptors(tmp_path / "out.npz").to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert np.array_equal(np.stack(list(frame["descriptor"])), ROWS)


DESCRIPTORS = {
    "words.parquet": ["x", "y"],
    "ragged.parquet": [[1.0], [0.0, 1.0]],
    "missing.parquet": [[1.0], None],
    "hole.parquet": [[0.0, 1.0], [1.0, None]],
}


def write_parquet(path: Path, descriptors: list[object]) -> None:
    """As another program writes it: lists of any length."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pyarrow.table({"path": [f"{n}.jpg" for n in range(len(descriptors))], "descriptor": descriptors}), path
    )


def test_lists_without_a_fixed_length_are_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "other.parquet", ROWS.tolist())
    found = read_descriptors(tmp_path / "other.parquet")
    assert np.array_equal(found.descriptors, ROWS)
    assert found.descriptors.dtype == np.float32


def spoiled(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "cut.npz":
        write_joined(path, TwoParts(ENTRIES), "abcd1234")
        path.write_bytes(path.read_bytes()[:-40])
    elif name == "empty.npz":
        zipfile.ZipFile(path, "w").close()
    elif name == "other.npz":
        np.savez(path, descriptors=ROWS)
    elif name == "short.npz":
        np.savez(path, descriptors=ROWS, paths=np.array(["a"]))
    elif name == "objects.npz":
        np.savez(path, descriptors=np.array([{}], object), paths=np.array(["a"]))
    elif name in ("nan.npz", "long.npz"):
        np.savez(
            path, descriptors=ROWS * [[1], [np.nan if name == "nan.npz" else 5], [1]], paths=np.array(["a", "b", "c"])
        )
    elif name in DESCRIPTORS:
        write_parquet(path, DESCRIPTORS[name])
    elif name == "several":
        path.mkdir()
        for fingerprint in ("aaaa", "bbbb"):
            write_joined(path / f"{fingerprint}.parquet", TwoParts(ENTRIES), fingerprint)
    elif name in ("text.npz", "text.parquet", "text.csv"):
        path.write_text("nothing of the kind")
    elif name == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.npz", "No file of descriptors at"),
        ("cut.npz", "is damaged or not a file of descriptors"),
        ("empty.npz", "is damaged or not a file of descriptors"),
        ("other.npz", "has no paths"),
        ("short.npz", "different lengths"),
        ("objects.npz", "is damaged or not a file of descriptors"),
        ("text.npz", "is damaged or not a file of descriptors"),
        ("text.parquet", "is damaged or not a file of descriptors"),
        ("text.csv", "is not a file of descriptors. Expected .npz"),
        ("folder", "not a file of descriptors"),
        ("nan.npz", "nan.npz: the descriptor of b has length nan, expected 1"),
        ("long.npz", "long.npz: the descriptor of b has length 5, expected 1"),
        ("words.parquet", "is damaged or not a file of descriptors"),
        ("ragged.parquet", "is damaged or not a file of descriptors"),
        ("missing.parquet", "1 descriptor is missing"),
        ("hole.parquet", "the descriptor of 1.jpg has length nan"),
        ("several", r"several networks \(aaaa, bbbb\), which do not compare"),
    ],
)
def test_what_is_no_file_of_descriptors_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    if name in ("text.parquet", "folder", "several"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=message) as caught:
        read_descriptors(spoiled(tmp_path, name))
    assert "\n" not in str(caught.value)
