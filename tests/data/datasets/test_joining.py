from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crosscam.data.datasets.joining import join
from crosscam.data.datasets.market1501 import read_market1501
from crosscam.data.datasets.readers import with_distractors
from crosscam.data.datasets.table import read_table, write_table
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import DataError


def made(name: str, pids: tuple[int, ...], camids: tuple[int, ...] = (1, 2)) -> ReidDataset:
    root = Path("/photos") / name
    samples = tuple(Sample(root / f"{pid}_{camid}.jpg", pid, camid, track="a") for pid in pids for camid in camids)
    half = len(samples) // 2
    return ReidDataset(name, root, train=samples[:half], query=samples[half:], notes=("Something.",))


def test_identities_and_cameras_of_different_data_sets_never_meet() -> None:
    first, second = made("first", (3, 7, 9, 20)), made("second", (3, 7), (1, 5, 6))
    joined = join([first, second])
    by_path = {s.path: s for subset in joined.subsets.values() for s in subset}
    people: dict[int, set[tuple[str, int]]] = {}
    cameras: dict[int, set[tuple[str, int]]] = {}
    for dataset in (first, second):
        for s in (*dataset.train, *dataset.query):
            people.setdefault(by_path[s.path].pid, set()).add((dataset.name, s.pid))
            cameras.setdefault(by_path[s.path].camid, set()).add((dataset.name, s.camid))
    assert sorted(people) == [1, 2, 3, 4, 5, 6]
    assert sorted(cameras) == [1, 2, 3, 4, 5]
    assert all(len(old) == 1 for old in (*people.values(), *cameras.values()))


def test_every_image_stays_in_its_subset() -> None:
    first, second = made("first", (3, 7)), made("second", (3, 7))
    joined = join([first, second])
    for subset, samples in joined.subsets.items():
        assert [s.path for s in samples] == [s.path for d in (first, second) for s in d.subsets[subset]]
    assert {s.track for s in joined.train} == {"1.a", "2.a"}
    assert joined.notes[0] == "first: Something."
    assert "second: identities 3 to 4, cameras 3 to 4." in joined.notes


def test_junk_and_distractors_stay_what_they_are() -> None:
    second = made("second", (0, 4, 5))
    junk = Sample(second.root / "junk.jpg", -1, 2)
    joined = join([made("first", (3, 7)), replace(second, gallery=(junk,))])
    assert joined.gallery[0].pid == -1
    assert {s.pid for s in (*joined.train, *joined.query) if s.path.name.startswith("0_")} == {0}
    assert {s.pid for s in (*joined.train, *joined.query)} == {0, 1, 2, 3, 4}


def test_a_joined_table_reads_back(tmp_path: Path) -> None:
    joined = join([made("first", (3, 7)), made("second", (3, 7))], "both")
    for s in (*joined.train, *joined.query):
        copy = tmp_path / s.path.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    moved = replace(
        joined,
        root=tmp_path,
        train=tuple(replace(s, path=tmp_path / s.path.relative_to("/")) for s in joined.train),
        query=tuple(replace(s, path=tmp_path / s.path.relative_to("/")) for s in joined.query),
    )
    write_table(moved, tmp_path / "both.csv")
    found = read_table(tmp_path / "both.csv")
    assert set(found.train) == set(moved.train)
    assert set(found.query) == set(moved.query)


def test_what_cannot_be_joined_is_refused() -> None:
    first = made("first", (3, 7))
    with pytest.raises(DataError, match="at least two datasets, found 1"):
        join([first])
    with pytest.raises(DataError, match=r"3_1\.jpg is in datasets 1 and 2"):
        join([first, first])
    with pytest.raises(DataError, match="different protocols"):
        join([first, replace(made("second", (1, 2)), protocol="cuhk03")])


def test_unknown_cameras_stay_unknown() -> None:
    joined = join([made("first", (3, 7), (-1, 4)), made("second", (3,), (-1, 4, 5))])
    cameras = {s.camid for subset in joined.subsets.values() for s in subset}
    assert sorted(cameras) == [-1, 1, 2, 3]


def test_a_link_to_a_dataset_is_no_other_dataset(tmp_path: Path) -> None:
    first = tmp_path / "people"
    (first / "bounding_box_train").mkdir(parents=True)
    (first / "bounding_box_train" / "0001_c1s1_000001_00.jpg").touch()
    (tmp_path / "link").symlink_to(first)
    with pytest.raises(DataError, match=r"0001_c1s1_000001_00\.jpg is in datasets 1 and 2"):
        join([read_market1501(first), read_market1501(tmp_path / "link")])


def test_the_same_bytes_in_two_datasets_are_told(tmp_path: Path) -> None:
    datasets = []
    for name, contents in (("first", ("ab", "cd", "cd")), ("second", ("ef", "cd", "ghi"))):
        samples = tuple(Sample(tmp_path / f"{name}{i}.jpg", i + 1, 1) for i in range(3))
        for sample, content in zip(samples, contents, strict=True):
            sample.path.write_text(content)
        datasets.append(ReidDataset(name, tmp_path, train=samples))
    joined = join(datasets)
    (warning,) = [note for note in joined.notes if note.startswith("warning: ")]
    assert "1 image with the same bytes" in warning
    assert f"{tmp_path / 'second1.jpg'} and {tmp_path / 'first1.jpg'}" in warning
    assert len(joined.train) == 6
    (tmp_path / "strangers").mkdir()
    for name, content in (("x.jpg", "ab"), ("y.jpg", "xy"), ("z.jpg", "xy")):
        (tmp_path / "strangers" / name).write_text(content)
    warning = with_distractors(datasets[0], tmp_path / "strangers").notes[-1]
    assert warning.startswith("warning: 1 distractor with the same bytes as images of the dataset")
    assert "x.jpg and" in warning
    (tmp_path / "strangers" / "x.jpg").unlink()
    assert with_distractors(datasets[0], tmp_path / "strangers").notes[-1].startswith("2 distractors of")
