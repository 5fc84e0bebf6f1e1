from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscam import evaluate_ranking
from crosscam.data.datasets.camera_folders import read_identity_folders
from crosscam.data.datasets.camera_rules import camids_by_rule
from crosscam.data.datasets.market1501 import parse_market_name
from crosscam.data.datasets.table import read_table
from crosscam.data.labels import LARGEST, is_missing, numbered, read_label, whole_number, whole_numbers
from crosscam.data.records import Sample, pids_of
from crosscam.errors import DataError

WHOLE = st.integers(-LARGEST, LARGEST)
FLOATS = st.integers(-(2**53), 2**53)


@given(WHOLE, st.integers(0, 5))
def test_a_whole_number_reads_as_itself_however_it_is_spelled(number: int, zeros: int) -> None:
    sign, digits = ("-" if number < 0 else ""), str(abs(number))
    assert read_label(f" {sign}{'0' * zeros}{digits} ") == number


def test_names_that_look_alike_are_one(tmp_path: Path) -> None:
    composed, apart = "Zo\u00eb", "Zoe\u0308"
    notes: list[str] = []
    assert numbered([composed, apart, "Ann"], "identities", notes) == [2, 2, 1]
    assert notes[0].startswith("1 identity spelled in several ways; each is one: ")
    rows = (f"a.jpg,{composed},{apart},query", f"b.jpg,{apart},{composed},gallery", f"c.jpg,{apart},Hall,gallery")
    (tmp_path / "t.csv").write_text("\n".join(("path,pid,camid,split", *rows)), encoding="utf-8")
    (tmp_path / "a.jpg").touch()
    dataset = read_table(tmp_path / "t.csv")
    assert [(s.pid, s.camera) for s in (*dataset.query, *dataset.gallery)] == [(1, composed)] * 2 + [(1, "Hall")]
    assert [s.camid for s in (*dataset.query, *dataset.gallery)] == [2, 2, 1]


@given(FLOATS)
def test_whole_floats_are_whole_numbers_as_every_program_writes_them(number: int) -> None:
    for text in (str(float(number)), f"{number}.0", f"{number}.", f"{float(number):.18e}", f"{np.float64(number)}"):
        assert read_label(text) == number
    assert whole_number(float(number), "pid") == number
    assert whole_numbers(np.array([number], np.float64), "pid").tolist() == [number]


@given(st.lists(st.one_of(st.integers(-1, 30).map(str), st.sampled_from(["zoe", "ann", "007", "7.0", "-1.0", "0"]))))
def test_numbering_keeps_junk_and_distractors_apart_from_people(cells: list[str]) -> None:
    found = numbered(cells, "identities", [])
    for cell, number in zip(cells, found, strict=True):
        label = read_label(cell)
        assert (number == label) if label in (-1, 0) else number >= 1
    for a, x in zip(cells, found, strict=True):
        for b, y in zip(cells, found, strict=True):
            assert (x == y) == (read_label(a) == read_label(b))


def test_junk_and_distractors_beside_names() -> None:
    notes: list[str] = []
    assert numbered(["zoe", "-1", "0", "ann", "-1.0", "7"], "identities", notes) == [3, -1, 0, 2, -1, 1]
    assert "7 = 1, ann = 2, zoe = 3" in notes[-1]
    # A camera 0 is a camera; a negative one is unknown.
    assert numbered(["door", "0", "-1", "7"], "cameras", []) == [8, 0, -1, 7]


def test_spellings_of_one_number_are_one_with_or_without_names() -> None:
    for more in ([], ["zoe"]):
        notes: list[str] = []
        first, second, third, *_ = numbered(["007", "7", "7.0", *more], "identities", notes)
        assert first == second == third
        assert "007 = 7 = 7.0" in notes[0]
    notes = []
    assert numbered(["007", "8"], "identities", notes) == [7, 8]
    assert notes == []


@pytest.mark.parametrize("cell", ["", "  ", "nan", "NaN", "None", "null", "NULL", "NA", "<NA>", "N/A", "NaT"])
def test_what_says_that_nothing_is_known_is_no_label(cell: str) -> None:
    assert is_missing(cell)
    with pytest.raises(DataError, match="row 2: no pid"):
        numbered(["zoe", cell], "identities", [], lambda place: f"row {place + 1}")


@pytest.mark.parametrize("cell", ["inf", "-inf", "Infinity", "9007199254740993.0", "1.2345678901234568e+18"])
def test_numbers_that_lost_their_meaning_are_refused(cell: str) -> None:
    with pytest.raises(DataError, match="camid"):
        numbered(["1", cell], "cameras", [])


@pytest.mark.parametrize("cell", ["9" * 19, "18446744073709551615", "9" * 5000, "1.5", "1e5", "0x10"])
def test_other_numbers_are_names(cell: str) -> None:
    assert numbered(["3", cell], "identities", notes := []) == ([2, 1] if cell in ("1.5", "1e5", "0x10") else [1, 2])
    assert "identities, numbered" in notes[0]
    assert numbered(["3", cell], "cameras", notes := []) == [3, 4]
    assert notes == [f"Names of 1 camera: {cell}."]


def test_the_range_of_64_bits_is_kept_whole() -> None:
    assert numbered([str(LARGEST), str(-LARGEST)], "cameras", []) == [LARGEST, -LARGEST]
    assert read_label(str(LARGEST + 1)) == str(LARGEST + 1)
    assert read_label("00" + str(LARGEST + 1)) == str(LARGEST + 1)


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.0, 2.0, -1.0]),
        np.array([1, 2, -1], np.float16),
        np.array([1, 2, -1], object),
        [1, 2.0, np.int8(-1)],
        (np.uint64(1), np.uint64(2), -1),
    ],
)
def test_arrays_of_whole_numbers(values: Any) -> None:
    assert whole_numbers(values, "pids").tolist() == [1, 2, -1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, float("nan")], r"pids\[1\] is nan"),
        ([1.0, 2.5], r"pids\[1\] is 2.5"),
        ([1, float("inf")], r"pids\[1\] is inf"),
        (np.array([1, 2**63], np.uint64), r"pids\[1\] is 9223372036854775808"),
        ([1, 2**80], r"pids\[1\] is 1208925819614629174706176"),
        ([1, None], r"pids\[1\] is None"),
        ([1.0, 2.0**60], r"does not tell such large numbers apart"),
        (["1", "2"], "number the identities"),
        ([True, False], "holds bool"),
        (np.ma.masked_array([1, 2], [False, True]), "masked"),
    ],
)
def test_arrays_that_are_no_labels(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        whole_numbers(values, "pids")


def test_a_ranking_takes_float_labels_and_no_others() -> None:
    distances = np.array([[0.1, 0.2, 0.3]])
    whole = evaluate_ranking(distances, [1], [-1, 1, 0], [0], [1, 1, 1])
    for convert in (lambda v: np.array(v, float), lambda v: torch.tensor(v, dtype=torch.bfloat16)):
        again = evaluate_ranking(distances, *(convert(v) for v in ([1], [-1, 1, 0], [0], [1, 1, 1])))
        assert again.mAP == whole.mAP == 1.0
    with pytest.raises(ValueError, match=r"gallery_camids\[2\] is 1.5"):
        evaluate_ranking(distances, [1], [-1, 1, 0], [0], [1, 1, 1.5])


def test_samples_are_never_cut_to_whole_numbers() -> None:
    assert pids_of((Sample(Path("a"), 7.0, 1),)).tolist() == [7]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"pid\[0\] is 7.5"):
        pids_of((Sample(Path("a"), 7.5, 1),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="63 bits"):
        pids_of((Sample(Path("a"), 2**64, 1),))


def _table(folder: Path, rows: list[list[str]], name: str = "t.csv") -> Path:
    path = folder / name
    for row in rows:
        (folder / row[0]).touch()
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "pid", "camid", "split"], *rows])
    return path


def test_a_table_saved_with_floats_is_the_same_data_set(tmp_path: Path) -> None:
    rows = [["a.jpg", "1", "1", "query"], ["b.jpg", "-1", "2", "gallery"], ["c.jpg", "0", "2", "gallery"]]
    whole = read_table(_table(tmp_path, rows))
    floats = [[path, str(float(pid)), f"{camid}.0", split] for path, pid, camid, split in rows]
    assert read_table(_table(tmp_path, floats)) == whole
    assert read_table(_table(tmp_path, floats)).fingerprint() == whole.fingerprint()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("pid", ["nan", "None", "null", "NA", ""])
def test_a_table_with_gaps_names_the_line(tmp_path: Path, suffix: str, pid: str) -> None:
    path = _table(tmp_path, [["a.jpg", "1", "1", "train"], ["b.jpg", pid, "1", "train"]])
    if suffix == ".parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {"path": ["a.jpg", "b.jpg"], "pid": ["1", pid], "camid": [1, 1]}
        path = tmp_path / "t.parquet"
        parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(DataError, match="no pid") as caught:
        read_table(path)
    assert ("line 3" if suffix == ".csv" else "row 2") in str(caught.value)


def test_parquet_labels_of_every_type(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).touch()

    def read(pids: Any, camids: Any) -> list[tuple[int, int]]:
        table = pyarrow.table({"path": ["a.jpg", "b.jpg", "c.jpg"], "pid": pids, "camid": camids})
        parquet.write_table(table.append_column("split", [["gallery"] * 3]), tmp_path / "t.parquet")
        return [(s.pid, s.camid) for s in read_table(tmp_path / "t.parquet").gallery]

    whole = [(3, 1), (-1, 2), (0, 3)]
    assert read([3.0, -1.0, 0.0], pyarrow.array([1, 2, 3], pyarrow.uint64())) == whole
    assert read(["3", "-1.0", "00"], pyarrow.array(["1", "2", "3"]).dictionary_encode()) == whole
    assert read([3, -1, 0], pyarrow.array([7, 2**63, 2**64 - 1], pyarrow.uint64())) == [(3, 7), (-1, 8), (0, 9)]
    with pytest.raises(DataError, match="row 3: no pid"):
        read([3.0, -1.0, None], [1, 2, 3])
    parquet.write_table(pyarrow.table({"path": ["a.jpg"], "Pid": [1], "pid": [2]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="names a column twice"):
        read_table(tmp_path / "t.parquet")


def test_folders_are_read_by_the_same_rule(tmp_path: Path) -> None:
    for name in ("query/007/a.jpg", "gallery/7/b.jpg", "gallery/-1/c.jpg", "gallery/0000/d.jpg", "train/-1/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train/zoe").mkdir()
    (tmp_path / "train/zoe/f.jpg").touch()
    dataset = read_identity_folders(tmp_path, camids=0)
    assert {s.path.name: s.pid for s in (*dataset.query, *dataset.gallery, *dataset.train)} == {
        "a.jpg": 1,
        "b.jpg": 1,
        "c.jpg": -1,
        "d.jpg": 0,
        "f.jpg": 2,
    }
    notes = " ".join(dataset.notes)
    for expected in ("007 = 7", "1 junk image ", "1 distractor ", "folder -1 (junk) (e.jpg)"):
        assert expected in notes
    (tmp_path / "gallery/None").mkdir()
    (tmp_path / "gallery/None/g.jpg").touch()
    with pytest.raises(DataError, match=r"gallery/None: no pid \('None'"):
        read_identity_folders(tmp_path, camids=0)


def test_a_folder_0_that_is_trained_on_is_a_person(tmp_path: Path) -> None:
    for name in ("train/0/a.jpg", "train/03/b.jpg", "gallery/3/c.jpg", "gallery/-1/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    dataset = read_identity_folders(tmp_path, camids=0)
    found = {s.path.name: s.pid for s in (*dataset.train, *dataset.gallery)}
    assert found == {"a.jpg": 1, "b.jpg": 2, "c.jpg": 2, "d.jpg": -1}
    assert any("03 = 3" in note for note in dataset.notes)


def test_cameras_stated_by_the_user() -> None:
    paths = [Path("a_c18446744073709551616.jpg"), Path("b_c2.jpg")]
    assert camids_by_rule(paths, "_c([0-9]+)", Path("."), notes := []) == [3, 2]
    assert len(notes) == 1
    assert camids_by_rule(paths, np.int64(3), Path("."), []) == [3, 3]  # type: ignore[arg-type]
    assert camids_by_rule(paths, "3.0", Path("."), []) == [3, 3]
    for wrong in ("1.5", "9" * 30, 1.5, 2**70):
        with pytest.raises(ValueError, match="camids"):
            camids_by_rule(paths, wrong, Path("."), [])  # type: ignore[arg-type]


def test_file_names_of_more_than_63_bits_carry_no_identity() -> None:
    assert parse_market_name("0007_c1s1.jpg") == (7, 1)
    assert parse_market_name(f"{LARGEST}_c1.jpg") == (LARGEST, 1)
    assert parse_market_name(f"{LARGEST + 1}_c1.jpg") is None
    assert parse_market_name(f"7_c{LARGEST + 1}.jpg") is None


@pytest.mark.parametrize(
    "values",
    [
        np.array([20151105, 20151106], np.float32),
        np.array([2**24, 1], np.float32),
        np.array([2049, 2048], np.float16),
        torch.tensor([20151105, 20151106], dtype=torch.float32),
        torch.tensor([257, 256], dtype=torch.bfloat16),
    ],
)
def test_short_floats_do_not_make_two_people_one(values: Any) -> None:
    with pytest.raises(ValueError, match=r"does not tell (such large numbers|numbers above 255) apart"):
        evaluate_ranking(np.eye(2), values, values, [0, 0], [1, 1])


def test_short_floats_of_small_numbers_are_whole_numbers() -> None:
    for kind in (np.float16, np.float32):
        assert whole_numbers(np.array([2047, -1, 0], kind), "pid").tolist() == [2047, -1, 0]
    found = evaluate_ranking(np.eye(2), *(torch.tensor([7, 255], dtype=torch.bfloat16),) * 2, [0, 0], [1, 1])
    assert found.num_queries == 2
    with pytest.raises(ValueError, match="pid is"):
        whole_number(np.float32(20151105), "pid")


def test_short_floats_in_parquet_are_refused_by_row(tmp_path: Path) -> None:
    parquet, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    for pids, told in (([1, 20151105], "row 2: pid 20151104 was saved as a float of few digits"), ([1, 2], None)):
        column = pa.array(np.array(pids, np.float32))
        parquet.write_table(
            pa.table({"path": ["a.jpg", "b.jpg"], "pid": column, "camid": [1, 2]}), tmp_path / "t.parquet"
        )
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / name).touch()
        if told is None:
            assert [s.pid for s in read_table(tmp_path / "t.parquet").train] == pids
            continue
        with pytest.raises(DataError, match=told):
            read_table(tmp_path / "t.parquet")
