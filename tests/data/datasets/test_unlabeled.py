"""Unlabeled images, as tables list them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.data.datasets.readers import is_unlabeled, read_dataset
from crosscam.data.datasets.unlabeled import find_images, read_images
from crosscam.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Write:
    """Write a table beside two images."""

    def write(*lines: str) -> Path:
        for number in (1, 2):
            Image.fromarray(np.full((8, 4, 3), 50 * number, np.uint8)).save(tmp_path / f"{number}_c{number}.png")
        path = tmp_path / "crops.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_a_table_without_pid_is_of_nobody_known(table: Write) -> None:
    crops = table("path,camera,time,track,score", "2_c2.png,yard,2026-01-01T10:00:00,b,1", "1_c1.png,gate,,a,0")
    assert is_unlabeled(crops)
    assert is_unlabeled(crops, "table")
    found = read_images(crops)
    assert [(s.path.name, s.pid, s.camera, s.time, s.track) for s in found.gallery] == [
        ("1_c1.png", 0, "gate", None, "a"),
        ("2_c2.png", 0, "yard", 1767261600.0, "b"),
    ]
    assert (found.train, found.query, found.root) == ((), (), crops.parent)
    assert "Columns not used: score." in found.notes
    with pytest.raises(DataError, match=r"has no column 'pid'.*Unlabeled images: gallery add"):
        read_dataset(crops)


def test_without_a_camera_column_the_names_of_files_tell_or_the_user(table: Write) -> None:
    crops = table("path,track", "1_c1.png,a", "2_c2.png,b")
    assert [s.camid for s in read_images(crops).gallery] == [1, 2]
    assert [s.camera for s in read_images(crops, camera="gate").gallery] == ["gate", "gate"]
    assert [s.camid for s in read_images(crops, camids=r"^([0-9])").gallery] == [1, 2]


def test_a_pid_is_not_looked_at_where_the_user_says_that_nobody_knows(table: Write) -> None:
    labeled = table("path,pid,camid,split", "1_c1.png,ann,1,query", "2_c2.png,,2,gallery")
    assert not is_unlabeled(labeled)
    found = read_images(labeled)
    assert [(s.pid, s.camid) for s in found.gallery] == [(0, 1), (0, 2)]
    assert "Columns not used: pid, split." in found.notes


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (("path,camid", "1_c1.png,1", "1_c1.png,1"), {}, "line 3: .*1_c1.png stands in line 2 already"),
        (("path,camid", "gone.png,1"), {}, "gone.png, which does not exist"),
        (("path,camid", "1_c1.png,", "2_c2.png,2"), {}, "line 2: no camid"),
        (("path,camera", "1_c1.png,gate", "2_c2.png,"), {}, "line 3: no camera"),
        (("path,time", "1_c1.png,20261124", "2_c2.png,2026-11-25"), {}, "line 2: time 20261124 may be a date or"),
        (("path,time", "1_c1.png,2026-11-24+01:00"), {}, "line 2: time '2026-11-24"),
        (("path,camera", "1_c1.png,gate"), {"camids": 7}, "camids means nothing for .*which has a camera column"),
        (("path,camera", ".,gate"), {}, "which is a folder"),
        (("path,time", "1_c1.png,noon"), {}, "line 2: time 'noon'"),
        (("file,camid", "1_c1.png,1"), {}, "no column 'path'"),
        (("path,camid", "1_c1.png,1"), {"camera": "gate"}, "camera means nothing for .*which tells the cameras"),
        (("path,camid", "1_c1.png,1"), {"camids": 1}, "camids means nothing for .*which has a camid column"),
    ],
)
def test_what_a_table_lacks_is_one_line(
    table: Write, lines: tuple[str, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises((DataError, ValueError), match=message):
        read_images(table(*lines), **options)  # type: ignore[arg-type]


def test_what_says_that_nothing_is_known_is_as_good_as_blank(table: Write) -> None:
    """R writes NA, pandas nan: three images without a track are no track of three."""
    found = read_images(table("path,camera,time,track", "1_c1.png,gate,NA,NA", "2_c2.png,gate,nan,None"))
    assert [(s.time, s.track) for s in found.gallery] == [(None, None), (None, None)]


def test_a_column_without_a_single_camera_tells_none(table: Write) -> None:
    crops = table("path,camid,camera", "1_c1.png,,", "2_c2.png,NA,")
    assert [s.camera for s in read_images(crops, camera="gate").gallery] == ["gate", "gate"]
    assert [s.camid for s in read_images(crops).gallery] == [1, 2]
    mixed = table("path,camid,camera", "1_c1.png,,yard", "2_c2.png,,gate")
    assert [s.camera for s in read_images(mixed).gallery] == ["yard", "gate"]


def test_numbers_in_the_column_camera_are_no_names(table: Write) -> None:
    found = read_images(table("path,camid,camera", "1_c1.png,0,1", "2_c2.png,1,nan"))
    assert [(s.camid, s.camera) for s in found.gallery] == [(0, None), (1, None)]
    assert any("camera is not used" in note for note in found.notes)


def test_a_camera_in_another_encoding_is_refused(table: Write) -> None:
    crops = table("path,camera")
    crops.write_bytes("path,camera\n1_c1.png,Süd\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"line 2: camera .* is not in UTF-8\. Save the table as UTF-8"):
        read_images(crops)


def test_semicolons_are_found_where_the_path_alone_is_wanted(table: Write) -> None:
    assert [p.name for p in find_images(table("path;camera", "2_c2.png;gate"))[0]] == ["2_c2.png"]
    found = read_images(table("path;pid", "1_c1.png;9"), camera="gate")
    assert [(s.path.name, s.pid) for s in found.gallery] == [("1_c1.png", 0)]


def test_a_first_line_may_say_what_separates_the_columns(table: Write) -> None:
    crops = table("sep=|", "path|camera", "2_c2.png|gate, north", "1_c1.png|")
    assert [p.name for p in find_images(crops)[0]] == ["2_c2.png", "1_c1.png"]
    with pytest.raises(DataError, match="line 4: no camera"):
        read_images(crops)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crops.xlsx", r"crops\.xlsx is a spreadsheet, .*: save it as CSV"),
        ("crops.csv.gz", r"crops\.csv\.gz is a packed file, .*: unpack it first"),
    ],
)
def test_a_spreadsheet_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    for read in (find_images, read_dataset):
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)
    # Beside images it is no more than a file that is left out.
    Image.new("RGB", (4, 8)).save(tmp_path / "a.png")
    assert find_images(tmp_path)[1] == [
        f"Left out: 1 file without an image's name; first: {tmp_path / name}.",
    ]


def test_kind_images_and_its_earlier_name(tmp_path: Path, table: Write) -> None:
    crops = table("path,pid,camid", "1_c1.png,1,1")
    for kind in ("images", "pictures"):
        assert is_unlabeled(crops, kind)
        assert len(read_dataset(tmp_path, kind=kind).gallery) == 2


def test_whether_a_table_names_people_is_read_off_its_header(table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = table("# by hand", "", "Path;Camera;PID", "1_c1.png;gate;1")
    monkeypatch.setattr("crosscam.data.datasets.cells.read_cells", None)
    assert not is_unlabeled(crops)
    assert is_unlabeled(table("# by hand", "path,camera", *["1_c1.png,gate"] * 9))


def test_a_parquet_table_of_unlabeled_images(table: Write) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    place = table("path").with_suffix(".parquet")
    parquet.write_table(pyarrow.table({"path": ["2_c2.png", "1_c1.png"], "camera": ["yard", "gate"]}), place)
    assert is_unlabeled(place)
    assert [s.camera for s in read_images(place).gallery] == ["gate", "yard"]
    assert [p.name for p in find_images(place)[0]] == ["2_c2.png", "1_c1.png"]
    times = pyarrow.array(np.array([1795509000, 1795509030], np.float32))
    parquet.write_table(pyarrow.table({"path": ["2_c2.png", "1_c1.png"], "time": times}), place)
    with pytest.raises(DataError, match="row 1: time 1795508992 was saved as a float of few digits"):
        read_images(place, camera="gate")
    place.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_images(place)
