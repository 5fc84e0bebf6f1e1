from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.holdout import holdout, query_gallery_split, shuffle_pids
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import DataError

ROOT = Path("/photos")
FIXED_ORDER = [4, 3, 2, 5, 1]


def dataset(num_ids: int, cameras: int = 3, images: int = 3) -> ReidDataset:
    train = tuple(
        Sample(ROOT / f"{pid:04}_c{camid}s1_{frame:06}_00.jpg", pid, camid)
        for pid in range(2, 2 * num_ids + 1, 2)
        for camid in range(1, cameras + 1)
        for frame in range(images)
    )
    return ReidDataset("made", ROOT, train=train)


def test_first_identities_train_and_the_rest_are_tested() -> None:
    cut = holdout(dataset(7), num_train_ids=4)
    assert {s.pid for s in cut.train} == {2, 4, 6, 8}
    assert {s.pid for s in cut.query} == {s.pid for s in cut.gallery} == {10, 12, 14}
    assert any("4 of 7" in note for note in cut.notes)


def test_first_file_of_identity_and_camera_is_the_query() -> None:
    names = ["0001_c1s1_000200_00.jpg", "0001_c1s1_000100_00.jpg", "0001_c2s1_000050_00.jpg"]
    samples = [Sample(ROOT / name, 1, int(name[6])) for name in names]
    query, gallery = query_gallery_split(samples)
    assert [s.path.name for s in query] == [names[1], names[2]]
    assert [s.path.name for s in gallery] == [names[0]]


def test_the_file_name_decides_not_the_folder() -> None:
    samples = [Sample(ROOT / "b" / "0001_c1_1.jpg", 1, 1), Sample(ROOT / "a" / "0001_c1_2.jpg", 1, 1)]
    assert query_gallery_split(samples)[0] == (samples[0],)


def test_nothing_is_lost_and_nothing_is_twice() -> None:
    source = dataset(9)
    cut = holdout(source, test_share=0.4, seed=3)
    parts = [*cut.train, *cut.query, *cut.gallery]
    assert len(parts) == len(set(parts)) == len(source.train)
    assert set(parts) == set(source.train)
    assert {(s.pid, s.camid) for s in cut.query} == {(s.pid, s.camid) for s in cut.gallery}
    assert len(cut.query) == len({(s.pid, s.camid) for s in cut.query})


def test_shuffle_is_fixed_for_ever() -> None:
    # SHA-256 of "0:1" ... "0:5" decides; these are literal on purpose.
    assert shuffle_pids([1, 2, 3, 4, 5, 5], seed=0) == FIXED_ORDER
    assert sorted(FIXED_ORDER) == [1, 2, 3, 4, 5]
    assert shuffle_pids(range(50), 1) != shuffle_pids(range(50), 2)
    assert shuffle_pids(reversed(range(50)), 1) == shuffle_pids(range(50), 1)


def test_share_and_limits() -> None:
    assert len({s.pid for s in holdout(dataset(9)).train}) == 6
    assert len({s.pid for s in holdout(dataset(2), test_share=0.01).query}) == 1
    for wrong in (0, 9, -1):
        with pytest.raises(ValueError, match="num_train_ids"):
            holdout(dataset(9), num_train_ids=wrong)
    for share in (0.0, 1.0, 2.0):
        with pytest.raises(ValueError, match="test_share"):
            holdout(dataset(9), test_share=share)
    with pytest.raises(DataError, match="1 training identity"):
        holdout(dataset(1))


def test_one_image_of_each_at_each_camera_leaves_no_gallery() -> None:
    with pytest.raises(DataError, match=r"the gallery empty\. A hold-out needs identities with two images"):
        holdout(dataset(4, images=1), num_train_ids=2)


def test_notes_name_what_is_dropped_and_what_cannot_match() -> None:
    source = dataset(4, cameras=1)
    cut = holdout(source, num_train_ids=2)
    assert any("Not scored: 2 of 2 queries" in note for note in cut.notes)
    again = holdout(cut, num_train_ids=1)
    assert any("own 2 query and 4 gallery" in note for note in again.notes)
    assert not any("no match" in note for note in holdout(dataset(4), num_train_ids=2).notes)
