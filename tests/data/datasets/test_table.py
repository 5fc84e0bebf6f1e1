from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.camera_rules import camids_by_rule
from crosscam.data.datasets.holdout import holdout
from crosscam.data.datasets.table import read_table, write_table
from crosscam.data.labels import numbered
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import DataError


def table(folder: Path, text: str, name: str = "own.csv") -> Path:
    for image in ("a.jpg", "b.jpg", "c2.jpg", "c10.jpg"):
        (folder / image).touch()
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def made(root: Path) -> ReidDataset:
    root.mkdir(parents=True, exist_ok=True)
    samples = tuple(
        Sample(root / f"{pid}_c{camid}, no {i}.jpg", pid, camid)
        for pid in (3, 5, 11)
        for camid in (1, 2)
        for i in (9, 10)
    )
    for s in samples:
        s.path.touch()
    return ReidDataset("made", root, train=samples)


def test_all_columns(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "path,pid,camid,split,time,track\n"
        "c10.jpg,7,1,train,12.5,t1\n"
        "c2.jpg,7,2,TRAIN,,\n"
        "a.jpg,8,1,query,3,\n"
        "b.jpg,-1,2,gallery,, t2 \n",
    )
    dataset = read_table(path)
    assert dataset.name == "own"
    assert dataset.root == tmp_path
    assert dataset.notes == ()
    assert dataset.train == (
        Sample(tmp_path / "c2.jpg", 7, 2),
        Sample(tmp_path / "c10.jpg", 7, 1, 12.5, "t1"),
    )
    assert dataset.query == (Sample(tmp_path / "a.jpg", 8, 1, 3.0),)
    assert dataset.gallery == (Sample(tmp_path / "b.jpg", -1, 2, None, "t2"),)


def test_names_are_numbered_in_sorted_order_whatever_the_order_of_rows(tmp_path: Path) -> None:
    rows = ["a.jpg,zoe,door", "b.jpg,person10,yard", "c2.jpg,person9,door"]
    for order in (rows, rows[::-1]):
        dataset = read_table(table(tmp_path, "\n".join(["path,pid,camid", *order])))
        assert {s.path.name: (s.pid, s.camid) for s in dataset.train} == {
            "a.jpg": (3, 1),
            "b.jpg": (2, 2),
            "c2.jpg": (1, 1),
        }
        assert any("person9 = 1, person10 = 2, zoe = 3" in note for note in dataset.notes)
        assert any("cameras: door, yard" in note for note in dataset.notes)
        assert any("no split column" in note for note in dataset.notes)


def test_missing_cameras_must_be_stated(tmp_path: Path) -> None:
    path = table(tmp_path, "path,pid\nc2.jpg,1\nc10.jpg,2\n")
    with pytest.raises(DataError, match="does not say which camera") as caught:
        read_table(path)
    assert "camids=0" in str(caught.value)
    assert {s.camid for s in read_table(path, camids=0).train} == {0}
    assert read_table(path, camids="0") == read_table(path, camids=0)
    assert [s.camid for s in read_table(path, camids="c([0-9]+)").train] == [2, 10]
    with pytest.raises(DataError, match=r"no camera in 2 of 2 file names"):
        read_table(path, camids="cam([0-9]+)")
    for wrong in ("c[0-9]+", "(c)([0-9])", "(("):
        with pytest.raises(ValueError, match="camids"):
            read_table(path, camids=wrong)
    with pytest.raises(ValueError, match="has a camid column"):
        read_table(table(tmp_path, "path,pid,camid\na.jpg,1,1\n"), camids=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,pid,camid\n", "has no rows"),
        ("image,pid,camid\na.jpg,1,1\n", "no column 'path'"),
        ("path|pid|camid\na.jpg|1|1\n", r"found path\|pid\|camid"),
        ("path,pid,camid\na.jpg,1,1\nb.jpg,,1\n", "line 3: no pid"),
        ("path,pid,camid\na.jpg,1,\n", "line 2: no camid"),
        ("path,pid,camid\n,1,1\n", "line 2: no image path"),
        ("path,pid,camid,split\na.jpg,1,1,test\n", "line 2: split 'test'"),
        ("path,pid,camid,time\na.jpg,1,1,noon\n", "line 2: time 'noon'"),
        ("path,pid,camid,time\na.jpg,1,1,inf\n", "line 2: time 'inf'"),
        (
            "path,pid,camid,time\na.jpg,1,1,9\nb.jpg,1,2,1795509000000\n",
            "line 3: time '1795509000000'. Expected seconds",
        ),
        ("path,pid,camid,time\na.jpg,1,1,\nb.jpg,1,2,20261124\n", "line 3: time 20261124 may be a date or seconds"),
        ("path,pid,camid\na.jpg,1\n", "line 2: 2 values for 3 columns"),
        ("path,pid,camid\na.jpg,0,1\n", "pid 0"),
        ("path,pid,camid,split\na.jpg,-1,1,query\n", "pid -1"),
        ("path,pid,camid,split\na.jpg,-2,1,gallery\n", "pid -2"),
        ("path,pid,pid\na.jpg,1,1\n", "twice"),
        ("path,pid,camid\nnone.jpg,1,1\n", "does not exist"),
        ("path,pid,camid,protocol\na.jpg,1,1,best\n", "protocol best"),
    ],
)
def test_bad_tables_give_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_table(table(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_byte_order_mark_blank_lines_quotes_and_other_columns(tmp_path: Path) -> None:
    (tmp_path / "x, y.jpg").touch()
    path = table(tmp_path, '\ufeffPath, PID ,camid,color\n"x, y.jpg",4,1,red\n\n')
    dataset = read_table(path)
    assert dataset.train == (Sample(tmp_path / "x, y.jpg", 4, 1),)
    assert any("color" in note for note in dataset.notes)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("place", ["photos", ".", "elsewhere/deep"])
def test_round_trip_of_a_holdout(tmp_path: Path, suffix: str, place: str) -> None:
    cut = holdout(made(tmp_path / "photos"), num_train_ids=2)
    path = tmp_path / place / f"made-holdout{suffix}"
    write_table(cut, path)
    again = read_table(path)
    assert again.subsets == cut.subsets
    assert again.name == cut.name
    assert again.protocol == cut.protocol
    assert [p.name for p in path.parent.iterdir() if p.name.endswith(".part")] == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_round_trip_of_times_tracks_junk_and_protocol(tmp_path: Path, suffix: str) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.png").touch()
    dataset = ReidDataset(
        "t",
        tmp_path,
        query=(Sample(tmp_path / "a.png", 1, 0, 0.1 + 0.2, "run"),),
        gallery=(
            Sample(tmp_path / "b.png", -1, 1),
            Sample(tmp_path / "c.png", 0, 1, 7.0),
            Sample(tmp_path / "d.png", 1, 2),
        ),
        protocol="cuhk03",
    )
    write_table(dataset, tmp_path / f"t{suffix}")
    again = read_table(tmp_path / f"t{suffix}")
    assert again == dataset
    assert again.fingerprint() == dataset.fingerprint()


def test_table_with_photos_moved_together_has_the_same_fingerprint(tmp_path: Path) -> None:
    prints = set()
    for home in ("one", "two/deep"):
        dataset = made(tmp_path / home / "photos")
        write_table(dataset, tmp_path / home / "t.csv")
        assert "photos/3_c1" in (tmp_path / home / "t.csv").read_text()
        prints.add(read_table(tmp_path / home / "t.csv").fingerprint())
    assert len(prints) == 1


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"t\.txt"):
        write_table(made(tmp_path), tmp_path / "t.txt")


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    dataset = made(tmp_path / "photos")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"Cannot write .*t\.csv"):
        write_table(dataset, tmp_path / "file" / "t.csv")


def test_a_full_disk_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = made(tmp_path / "photos")
    write_table(dataset, tmp_path / "t.csv")
    before = (tmp_path / "t.csv").read_bytes()

    def full_disk(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crosscam.data.datasets.table.os.replace", full_disk)
    with pytest.raises(DataError, match="No space left on device"):
        write_table(holdout(dataset, num_train_ids=1), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"hello")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_table(tmp_path / "t.parquet")


def test_parquet_whole_numbers_stored_as_floats(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "a.jpg").touch()
    columns = {"path": ["a.jpg"], "pid": [12.0], "camid": [3], "time": [None], "track": [None]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").train == (Sample(tmp_path / "a.jpg", 12, 3),)


def test_numbered() -> None:
    notes: list[str] = []
    assert numbered(["0002", "-1", "3"], "identities", notes) == [2, -1, 3]
    assert notes == []
    assert numbered(["9" * 30, "8"], "identities", notes) == [2, 1]
    assert len(notes) == 1


def test_camera_names_found_by_rule_are_numbered() -> None:
    notes: list[str] = []
    paths = [Path("p1_yard_3.jpg"), Path("p1_door_4.jpg"), Path("p2_yard_1.jpg")]
    assert camids_by_rule(paths, "_([a-z]+)_", Path("."), notes) == [2, 1, 2]
    assert "cameras: door, yard" in notes[0]


def test_an_image_counts_once_in_a_subset_and_is_one_person(tmp_path: Path) -> None:
    def table(*rows: str) -> Path:
        (tmp_path / "a.jpg").touch()
        (tmp_path / "t.csv").write_text("path,pid,camid,split\n" + "\n".join(rows))
        return tmp_path / "t.csv"

    assert len(read_table(table("a.jpg,1,1,query", "a.jpg,1,1,gallery")).gallery) == 1
    with pytest.raises(DataError, match=r"line 3: .*a\.jpg stands in line 2 already"):
        read_table(table("a.jpg,1,1,gallery", "./a.jpg,1,1,gallery"))
    with pytest.raises(DataError, match=r"line 3: .*a\.jpg has another pid in line 2"):
        read_table(table("a.jpg,1,1,train", "a.jpg,2,1,gallery"))
    # Else the query would be its own right match.
    with pytest.raises(DataError, match=r"line 3: .*a\.jpg has another camera in line 2"):
        read_table(table("a.jpg,1,1,query", "a.jpg,1,2,gallery"))


def test_a_quotation_mark_that_is_never_closed_swallows_no_rows(tmp_path: Path) -> None:
    path = table(tmp_path, 'path,pid,camid,track\na.jpg,1,1,"t1\nb.jpg,2,2,t2\n')
    with pytest.raises(DataError, match="not a table: unexpected end of data"):
        read_table(path)
