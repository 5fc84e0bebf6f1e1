from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam.data.datasets.msmt17 import read_msmt17
from crosscam.data.datasets.table import read_table, write_table
from crosscam.data.labels import is_missing
from crosscam.data.records import ReidDataset, Sample
from crosscam.data.text_files import is_list, read_text, refuse_names
from crosscam.errors import DataError
from crosscam.inference.bulk import entries_of_list
from crosscam.system.text import printable
from crosscam.web.server_settings import read_tokens

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_list_is_read_in_every_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    def write(name: str, *lines: str) -> Path:
        (tmp_path / name).write_bytes(end.join(lines).encode(encoding))
        return tmp_path / name

    assert [e.path.name for e in entries_of_list(write("l.txt", "é.jpg", "", "b\x0bc\u2028d.jpg"))] == [
        "é.jpg",
        "b\x0bc\u2028d.jpg",
    ]
    assert list(read_tokens(write("tokens", "# mine", TOKEN, f"ann {TOKEN}x")).values()) == ["token", "ann"]
    for folder in ("train", "test"):
        (tmp_path / folder / "0000").mkdir(parents=True)
        (tmp_path / folder / "0000/0000_000_01_x.jpg").touch()
    for name in ("list_train.txt", "list_query.txt", "list_gallery.txt"):
        write(name, "0000/0000_000_01_x.jpg 0", "")
    assert [s.pid for s in read_msmt17(tmp_path).train] == [1]
    (tmp_path / "a.jpg").touch()
    assert [s.pid for s in read_table(write("t.csv", "path,pid,camid", "a.jpg,7,1")).train] == [7]


def test_text_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("a.jpg\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="without a byte order mark"):
        read_text(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\xff\xfea")
    with pytest.raises(DataError, match="begins as utf-16-le but is not"):
        read_text(tmp_path / "x")
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path)


def test_lists_by_their_suffix_in_any_case(tmp_path: Path) -> None:
    for name in ("a.txt", "b.TXT", "c.Txt", "d.jpg"):
        (tmp_path / name).touch()
    assert [is_list(tmp_path / n) for n in ("a.txt", "b.TXT", "c.Txt", "d.jpg", "no.txt")] == [True] * 3 + [False] * 2


def test_spaces_around_a_name_count_if_a_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / " a.jpg ").touch()
    (tmp_path / "b.jpg").touch()
    (tmp_path / "l.txt").write_text(" a.jpg \n  b.jpg  \n")
    assert [e.path.name for e in entries_of_list(tmp_path / "l.txt")] == [" a.jpg ", "b.jpg"]
    (tmp_path / "t.csv").write_text("path,pid,camid\n a.jpg ,1, 1\n b.jpg, 2 ,1\n")
    assert [s.path.name for s in read_table(tmp_path / "t.csv").train] == [" a.jpg ", "b.jpg"]


NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@given(names=st.lists(NAME, min_size=1, max_size=4, unique=True), tracks=st.lists(NAME, min_size=4, max_size=4))
def test_cells_keep_every_character(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, names: list[str], tracks: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("cells")
    # What says that there is no track is refused: see the test of tables.
    tracks = [f"x{t}" if is_missing(t) else t for t in tracks]
    samples = tuple(
        Sample(folder / f"{n}.jpg", 1 + i, 0, 0.5, t) for i, (n, t) in enumerate(zip(names, tracks, strict=False))
    )
    for s in samples:
        s.path.touch()
    write_table(ReidDataset("t", folder, train=samples), folder / f"t{suffix}")
    # Spaces around the name of a track do not count; within it, and in a path, every character does.
    assert {(s.path, s.pid, s.track) for s in read_table(folder / f"t{suffix}").train} == {
        (s.path, s.pid, s.track.strip()) for s in samples if s.track
    }


@pytest.mark.parametrize("track", [" ", "NA", " null "])
def test_a_track_that_would_be_lost_is_not_written(tmp_path: Path, track: str) -> None:
    dataset = ReidDataset("t", tmp_path, train=(Sample(tmp_path / "a.jpg", 1, 0, 0.5, track),))
    with pytest.raises(DataError, match=r"a\.jpg has a track whose name is blank or says that there is none"):
        write_table(dataset, tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path,pid,camid,track\n"a.jpg",1,1,"two\nlines"\n\nb.jpg,,1,\n', "line 5: no pid"),
        ("# made by hand\n\npath,pid,camid\na.jpg,1,1\n# half\nb.jpg,None,1\n", "line 6: no pid"),
        ("\ufeffpath,pid,camid\r\n\r\na.jpg,1,1\r\nb.jpg,1,nan\r\n", "line 4: no camid"),
        ('path,pid,camid,split\n"a.jpg",1,1,train\na.jpg,"1\n",1,best\n', "line 3: split 'best'"),
        ("path,pid,camid,time\n\n\na.jpg,1,1,noon\n", "line 4: time 'noon'"),
        ("path,pid,camid\n\na.jpg,1\n", "line 3: 2 values"),
        ("path,pid,camid\n\na.jpg,0,1\n", "line 3: pid 0 in train"),
    ],
)
def test_lines_are_those_of_the_file(tmp_path: Path, text: str, message: str) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.csv")


def test_lines_that_begin_with_a_mark_are_told_of(tmp_path: Path) -> None:
    for name in ("a.jpg", "#b.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_text("# by hand\npath,pid,camid\na.jpg,1,1\n#b.jpg,2,1\n# the end\n")
    dataset = read_table(tmp_path / "t.csv")
    assert [s.path.name for s in dataset.train] == ["#b.jpg", "a.jpg"]
    assert any("(not rows): 2" in note for note in dataset.notes)


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    odd.touch()
    assert printable(odd.name) == r"caf\xe9.jpg"
    (tmp_path / "l.txt").write_bytes(b"caf\xe9.jpg\n")
    assert [e.path for e in entries_of_list(tmp_path / "l.txt")] == [odd]
    dataset = ReidDataset("t", tmp_path, train=(Sample(odd, 1, 1),))
    assert len(dataset.fingerprint()) == 16
    write_table(dataset, tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv") == dataset
    with pytest.raises(DataError, match=r"1 name not in UTF-8, and Parquet cannot hold that: .*caf\\xe9.jpg"):
        write_table(dataset, tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()
    with pytest.raises(DataError, match="2 names"):
        refuse_names([odd, odd, "good"], "it", "")
