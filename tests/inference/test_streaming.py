"""Descriptors of many images: nothing is lost by a kill, nothing left out in silence, memory stays bounded."""

from __future__ import annotations

import csv
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.images import decode_image
from crosscam.data.records import ReidDataset
from crosscam.errors import BusyError, CrosscamError, DataError
from crosscam.inference.bulk import (
    Job,
    Summary,
    describe_part,
    describe_stream,
    entries_of,
    entries_of_list,
    run_here,
)
from crosscam.inference.descriptor_files import UNKNOWN, Entry, Part, PartsOnDisk, check_name, write_joined
from crosscam.inference.extractor import Extractor
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.settings import with_settings


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    torch.manual_seed(0)
    recipe = with_settings(find_recipe("demo"), ["model.scales=2", "model.dim=8", "data.height=64", "data.width=32"])
    return Extractor(build_model(recipe, 0), recipe)


@pytest.fixture(scope="module")
def entries(rendered: ReidDataset) -> list[Entry]:
    return entries_of(rendered)[:25]


def stream(extractor: Extractor, entries: list[Entry], out: Path, part_size: int = 10) -> Summary:
    run = run_here(extractor, len(entries))
    return describe_stream(entries, out, fingerprint=extractor.fingerprint, run=run, part_size=part_size)


def test_an_npz_holds_everything_in_order(extractor: Extractor, entries: list[Entry], tmp_path: Path) -> None:
    done = stream(extractor, entries, tmp_path / "sub/out.npz")
    assert (done.described, done.resumed, done.failures, done.failures_file) == (25, 0, (), None)
    with np.load(tmp_path / "sub/out.npz") as saved:
        assert list(saved["paths"]) == [str(e.path) for e in entries]
        assert list(saved["pids"]) == [e.pid for e in entries]
        assert list(saved["camids"]) == [e.camid for e in entries]
        assert str(saved["fingerprint"]) == extractor.fingerprint
        np.testing.assert_allclose(saved["descriptors"], extractor([e.path for e in entries]), atol=2e-6)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["out.npz"]


def test_times_and_tracks_are_kept_where_any_is_known(
    extractor: Extractor, entries: list[Entry], tmp_path: Path
) -> None:
    some = [Entry(entries[0].path, time=2.5, track="a"), Entry(entries[1].path)]
    stream(extractor, some, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as saved:
        assert set(saved) == {"paths", "descriptors", "fingerprint", "times", "tracks"}
        assert list(saved["tracks"]) == ["a", ""]
        assert saved["times"][0] == 2.5
        assert np.isnan(saved["times"][1])


@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_parquet_has_its_columns_and_the_fingerprint(
    extractor: Extractor, entries: list[Entry], tmp_path: Path, name: str
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    stream(extractor, entries, tmp_path / name)
    table = parquet.read_table(tmp_path / name)
    assert table.column_names == ["path", "pid", "camid", "time", "track", "camera", "descriptor"]
    assert table.column("path").to_pylist() == [str(e.path) for e in entries]
    assert table.column("pid").to_pylist() == [e.pid for e in entries]
    assert table.column("time").null_count == sum(e.time is None for e in entries)
    assert str(table.schema.field("descriptor").type) == f"fixed_size_list<element: float>[{extractor.dim}]"
    rows = np.stack(table.column("descriptor").to_numpy())
    np.testing.assert_allclose(rows, extractor([e.path for e in entries]), atol=2e-6)
    assert table.schema.metadata[b"crosscam.fingerprint"].decode() == extractor.fingerprint
    if name == "out":
        assert len(list((tmp_path / name).glob("*.parquet"))) == 3


class Killed(Exception):
    """Stands for a kill between two parts."""


def test_the_same_call_goes_on_where_an_earlier_one_stopped(
    extractor: Extractor, entries: list[Entry], tmp_path: Path
) -> None:
    described: list[int] = []

    def killed_after(limit: int, jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        for number, paths in jobs:
            if len(described) == limit:
                raise Killed
            described.append(number)
            yield number, describe_part(extractor, paths)

    def call(limit: int) -> Summary:
        return describe_stream(
            entries,
            tmp_path / "out.npz",
            fingerprint=extractor.fingerprint,
            run=lambda jobs: killed_after(limit, jobs),
            part_size=4,
        )

    with pytest.raises(Killed):
        call(3)
    assert not (tmp_path / "out.npz").exists()
    # What a kill in the middle of a write leaves is not taken for a part.
    (tmp_path / "out.npz.parts/000005.npz.tmp").write_bytes(b"half")
    done = call(99)
    assert (done.described, done.resumed) == (25, 12)
    assert sorted(described) == list(range(7))
    with np.load(tmp_path / "out.npz") as saved:
        np.testing.assert_allclose(saved["descriptors"], extractor([e.path for e in entries]), atol=2e-6)
    assert not (tmp_path / "out.npz.parts").exists()


def test_a_folder_that_only_has_the_name_of_the_parts_is_left_alone(
    extractor: Extractor, entries: list[Entry], tmp_path: Path
) -> None:
    mine = tmp_path / "out.npz.parts/notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(DataError, match=r"holds something else \(notes\.txt\)"):
        stream(extractor, entries, tmp_path / "out.npz")
    assert mine.read_text() == "mine"


def test_parts_may_come_in_any_order(extractor: Extractor, entries: list[Entry], tmp_path: Path) -> None:
    def backwards(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        for number, paths in reversed(list(jobs)):
            yield number, describe_part(extractor, paths)

    out = tmp_path / "out.npz"
    describe_stream(entries, out, fingerprint="f", run=backwards, part_size=4)
    with np.load(out) as saved:
        assert list(saved["paths"]) == [str(e.path) for e in entries]
        np.testing.assert_allclose(saved["descriptors"], extractor([e.path for e in entries]), atol=2e-6)


def test_an_unfinished_extraction_of_something_else_is_not_mixed_in(
    extractor: Extractor, entries: list[Entry], tmp_path: Path
) -> None:
    def kill(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        raise Killed
        yield  # makes this a generator

    out = tmp_path / "out.npz"
    with pytest.raises(Killed):
        describe_stream(entries, out, fingerprint="f", run=kill)
    run = run_here(extractor, 1)
    for changed, arguments in (
        ("fingerprint", (entries, "g", 4096)),
        ("entries", (entries[1:], "f", 4096)),
        ("part_size", (entries, "f", 5)),
    ):
        some, digits, size = arguments
        with pytest.raises(DataError, match=f"unfinished extraction that differs in {changed}\\."):
            describe_stream(some, out, fingerprint=digits, run=run, part_size=size)
    (tmp_path / "out.npz.parts/job.json").write_text("{")
    with pytest.raises(DataError, match=r"job\.json cannot be read"):
        describe_stream(entries, out, fingerprint="f", run=run)


def test_images_that_cannot_be_read_are_listed_and_the_others_described(
    extractor: Extractor, entries: list[Entry], tmp_path: Path
) -> None:
    bad = [tmp_path / "torn.jpg", tmp_path / "gone.jpg"]
    bad[0].write_text("no image")
    mixed = [entries[0], Entry(bad[0], 5, 1), *entries[1:4], Entry(bad[1], 6, 1), entries[4]]
    done = stream(extractor, mixed, tmp_path / "out.npz", part_size=3)
    assert done.described == 5
    assert [path for path, _ in done.failures] == bad
    with np.load(tmp_path / "out.npz") as saved:
        assert list(saved["paths"]) == [str(e.path) for e in entries[:5]]
        np.testing.assert_allclose(saved["descriptors"], extractor([e.path for e in entries[:5]]), atol=2e-6)
    assert done.failures_file == tmp_path / "out.npz.failures.csv"
    with done.failures_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(p) for p in bad]
    assert "is not an image" in rows[0]["reason"]
    # Mended, the list goes away.
    stream(extractor, entries, tmp_path / "out.npz")
    assert not done.failures_file.exists()


def test_where_nothing_can_be_read_the_result_is_empty(extractor: Extractor, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    for name in ("out.npz", "out.parquet"):
        done = stream(extractor, [Entry(tmp_path / "a.jpg")], tmp_path / name)
        assert (done.described, len(done.failures)) == (0, 1)
    with np.load(tmp_path / "out.npz") as saved:
        assert saved["descriptors"].shape == (0, extractor.dim)


def test_a_list_of_files_is_counted_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n\n  sub/b.jpg \n/c.jpg\n")
    assert [e.path for e in entries_of_list(tmp_path / "list.txt")] == [
        tmp_path / "a.jpg",
        tmp_path / "sub/b.jpg",
        Path("/c.jpg"),
    ]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="names no images"):
        entries_of_list(tmp_path / "empty.txt")


def test_names_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("out.csv", ".", "file"):
        with pytest.raises(DataError, match=r"out\.csv cannot|cannot be written|exists and is a file"):
            check_name(tmp_path / name)
    for name in ("out.npz", "out.parquet", "out"):
        check_name(tmp_path / name)


def test_a_job_file_tells_what_is_under_way(extractor: Extractor, entries: list[Entry], tmp_path: Path) -> None:
    seen = {}

    def look(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        seen.update(json.loads((tmp_path / "out.npz.parts/job.json").read_text()))
        yield from run_here(extractor, 1)(jobs)

    describe_stream(entries, tmp_path / "out.npz", fingerprint="f", run=look)
    assert seen["fingerprint"] == "f"


def stopped(extractor: Extractor, entries: list[Entry], out: Path, after: int) -> None:
    """An extraction that is killed after some parts of four images."""

    def run(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        for count, (number, paths) in enumerate(jobs):
            if count == after:
                raise Killed
            yield number, describe_part(extractor, paths)

    with pytest.raises(Killed):
        describe_stream(entries, out, fingerprint="f", run=run, part_size=4)


def gone_on(extractor: Extractor, entries: list[Entry], out: Path) -> list[int]:
    """Parts that the next call describes; its result is compared with what the images give."""
    described = []

    def run(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        for number, part in run_here(extractor, 1)(jobs):
            described.append(number)
            yield number, part

    describe_stream(entries, out, fingerprint="f", run=run, part_size=4)
    with np.load(out) as saved:
        assert list(saved["paths"]) == [str(e.path) for e in entries]
        np.testing.assert_allclose(saved["descriptors"], extractor([e.path for e in entries]), atol=2e-6)
    return described


@pytest.mark.parametrize("fault", ["gone", "torn", "flipped", "another's", "empty", "compressed", "encrypted"])
def test_a_part_that_is_broken_is_made_again(
    extractor: Extractor, entries: list[Entry], tmp_path: Path, fault: str
) -> None:
    out = tmp_path / "out.npz"
    stopped(extractor, entries, out, after=4)
    part = PartsOnDisk(entries, tmp_path / "out.npz.parts", 4).file(1)
    data = part.read_bytes()
    if fault == "gone":
        part.unlink()
    elif fault == "torn":
        part.write_bytes(data[: len(data) // 2])
    elif fault == "flipped":
        place = data.index(b"descriptors.npy") + 400
        part.write_bytes(data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :])
    elif fault in ("compressed", "encrypted"):
        # One bit in the archive's list of files, which makes its reader raise what no list of errors foresees.
        place = data.index(b"PK\x01\x02") + (11 if fault == "compressed" else 8)
        part.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    elif fault == "another's":
        part.write_bytes(part.with_name("000002.npz").read_bytes())
    else:
        part.write_bytes(b"")
    assert gone_on(extractor, entries, out) == [1, 4, 5, 6]


def test_a_part_that_is_lost_before_the_joining_is_made_again(
    extractor: Extractor, entries: list[Entry], tmp_path: Path
) -> None:
    described = []

    def run(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        for number, part in run_here(extractor, 1)(jobs):
            if described == [0, 1, 2, 3]:
                (tmp_path / "out.npz.parts/000001.npz").unlink()
            described.append(number)
            yield number, part

    done = describe_stream(entries, tmp_path / "out.npz", fingerprint="f", run=run, part_size=4)
    assert (done.described, described) == (25, [0, 1, 2, 3, 4, 5, 6, 1])
    with np.load(tmp_path / "out.npz") as saved:
        np.testing.assert_allclose(saved["descriptors"], extractor([e.path for e in entries]), atol=2e-6)


@pytest.mark.parametrize("change", ["another image", "a later time", "another of the same size and time"])
def test_an_image_that_changed_since_is_described_again(
    extractor: Extractor, entries: list[Entry], tmp_path: Path, change: str
) -> None:
    for number, entry in enumerate(entries):
        (tmp_path / f"{number}.jpg").write_bytes(entry.path.read_bytes())
    own = [Entry(tmp_path / f"{number}.jpg") for number in range(len(entries))]
    stopped(extractor, own, tmp_path / "out.npz", after=4)
    if change == "another image":
        own[5].path.write_bytes(entries[20].path.read_bytes())
    elif change == "another of the same size and time":
        before, other = own[5].path.stat(), tmp_path / "other"
        pixels = decode_image(entries[20].path)
        Image.fromarray(pixels).save(other, "JPEG", quality=60)
        other.write_bytes(other.read_bytes().ljust(before.st_size, b"\0"))
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(own[5].path)
        after = own[5].path.stat()
        assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    else:
        os.utime(own[5].path, (1, 1))
    assert gone_on(extractor, own, tmp_path / "out.npz") == [1, 4, 5, 6]


def test_an_image_that_is_there_now_is_described(extractor: Extractor, entries: list[Entry], tmp_path: Path) -> None:
    own = [*entries[:5], Entry(tmp_path / "late.jpg", 1, 1), *entries[6:]]
    stopped(extractor, own, tmp_path / "out.npz", after=4)
    own[5].path.write_bytes(entries[5].path.read_bytes())
    assert gone_on(extractor, own, tmp_path / "out.npz") == [1, 4, 5, 6]


def test_one_extraction_at_a_time(extractor: Extractor, entries: list[Entry], tmp_path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(jobs: Iterable[Job]) -> Iterator[tuple[int, Part]]:
        began.set()
        assert go_on.wait(30)
        yield from run_here(extractor, 1)(jobs)

    out = tmp_path / "out.npz"
    first = threading.Thread(target=lambda: describe_stream(entries, out, fingerprint="f", run=wait, part_size=4))
    first.start()
    assert began.wait(30)
    with pytest.raises(BusyError, match=r"out\.npz is being written by process \d+"):
        describe_stream(entries, out, fingerprint="f", run=run_here(extractor, 1), part_size=4)
    go_on.set()
    first.join()
    assert gone_on(extractor, entries, out) == list(range(7))
    assert [p.name for p in tmp_path.iterdir()] == ["out.npz"]


def test_an_extraction_does_not_go_on_by_another_engine(
    extractor: Extractor, entries: list[Entry], tmp_path: Path
) -> None:
    stopped(extractor, entries, tmp_path / "out.npz", after=2)
    with pytest.raises(DataError, match=r"differs in engine\."):
        describe_stream(
            entries, tmp_path / "out.npz", fingerprint="f", run=run_here(extractor, 1), part_size=4, engine="openvino"
        )


@pytest.mark.parametrize(("value", "fault"), [(float("nan"), "is not finite"), (0.0, "has length 0")])
def test_a_descriptor_that_says_nothing_is_not_written(
    extractor: Extractor,
    entries: list[Entry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    fault: str,
) -> None:
    whole = Extractor.pixels

    def spoiled(self: Extractor, pixels: np.ndarray, expected: int = 0) -> np.ndarray:
        rows = whole(self, pixels, expected)
        rows[3:] = value
        return rows

    monkeypatch.setattr(Extractor, "pixels", spoiled)
    expected = rf"The descriptor of .*{entries[3].path.name} {fault}; .*Look at the weights"
    with pytest.raises(DataError, match=expected):
        stream(extractor, entries, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
    with pytest.raises(DataError, match=expected):
        extractor([e.path for e in entries])
    with pytest.raises(DataError, match=expected):
        extractor.files([e.path for e in entries])
    with pytest.raises(DataError, match=f"The descriptor of image 3 {fault}"):
        extractor([np.zeros((8, 4, 3), np.uint8)] * 5)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_labels_in_a_result_are_whole_or_unknown_or_refused(tmp_path: Path, suffix: str) -> None:
    def write(entries: list[Entry]) -> Path:
        class Parts:
            def entries(self) -> Iterator[list[Entry]]:
                yield entries

            def rows(self) -> Iterator[np.ndarray]:
                yield np.ones((len(entries), 4), np.float32)

        write_joined(tmp_path / f"r{suffix}", Parts(), "0" * 16)
        return tmp_path / f"r{suffix}"

    file = write([Entry(Path("a"), 7.0, 2), Entry(Path("b"), None, -1)])  # type: ignore[arg-type]
    if suffix == ".npz":
        assert np.load(file)["pids"].tolist() == [7, UNKNOWN]
    else:
        assert pytest.importorskip("pyarrow.parquet").read_table(file)["pid"].to_pylist() == [7, None]
    for wrong in (7.5, 2**64, float("nan")):
        with pytest.raises(ValueError, match="pid is"):
            write([Entry(Path("a"), wrong, 2)])  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [".npz", ".parquet", ""])
def test_known_and_unknown_identities_together(tmp_path: Path, ending: str) -> None:
    class Parts:
        def entries(self) -> Iterator[list[Entry]]:
            yield [Entry(Path("a.jpg"), 3, 1, 2.5, "t"), Entry(Path("b.jpg"))]
            yield [Entry(Path("c.jpg"), None, 2), Entry(Path("d.jpg"), -1, None, None, "")]

        def rows(self) -> Iterator[NDArray[np.float32]]:
            yield from (np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32)[2:])

    out = tmp_path / f"v{ending}"
    write_joined(out, Parts(), "f")
    if ending == ".npz":
        with np.load(out) as found:
            assert found["pids"].tolist() == [3, UNKNOWN, UNKNOWN, -1]
            assert found["camids"].tolist() == [1, UNKNOWN, 2, UNKNOWN]
            assert np.array_equal(found["times"], [2.5, np.nan, np.nan, np.nan], equal_nan=True)
            assert found["tracks"].tolist() == ["t", "", "", ""]
        return
    table = pytest.importorskip("pyarrow.parquet").read_table(out)
    assert table["pid"].to_pylist() == [3, None, None, -1]
    assert table["camid"].to_pylist() == [1, None, 2, None]
    assert table["time"].to_pylist() == [2.5, None, None, None]


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(Path("a.jpg"), "anna"), "pid is 'anna'"),
        (Entry(Path("a.jpg"), 1, 2**64), "camid is 18446744073709551616"),
        (Entry(Path("a.jpg"), 1, 1, "noon"), "time is 'noon'"),
        (Entry(Path("a.jpg"), 1, 1, 1.0, 7), "track is 7"),
    ],
)
def test_what_is_no_number_is_one_line(tmp_path: Path, ending: str, entry: Entry, words: str) -> None:
    class Parts:
        def entries(self) -> Iterator[list[Entry]]:
            yield [Entry(Path("b.jpg")), entry]

        def rows(self) -> Iterator[NDArray[np.float32]]:
            yield np.eye(2, dtype=np.float32)

    with pytest.raises(CrosscamError, match=re.escape(words)) as told:
        write_joined(tmp_path / f"v{ending}", Parts(), "f")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())
