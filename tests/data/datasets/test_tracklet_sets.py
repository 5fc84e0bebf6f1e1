"""MARS, iLIDS-VID and PRID 2011's sequences, by folders of their published structure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crosscam.data.datasets.holdout import holdout
from crosscam.data.datasets.joining import join
from crosscam.data.datasets.readers import read_dataset, recognize
from crosscam.data.datasets.tracklet_sets import read_mars
from crosscam.data.doctor import OFFICIAL, as_text, examine_dataset
from crosscam.data.records import ReidDataset, Sample, by_tracklets, pooled, ranked, spread_out
from crosscam.errors import DataError

scipy_io = pytest.importorskip("scipy.io")

# pid, camera, frames: two of junk, one of a distractor; the queries are 3 and 5, counted from 1.
TESTED = ((-1, 1, 2), (0, 2, 3), (2, 1, 3), (2, 2, 2), (4, 3, 2), (4, 1, 4))


def make_mars(root: Path, tested: tuple[tuple[int, int, int], ...] = TESTED) -> Path:
    for subset, tracklets in (("train", ((1, 1, 2), (1, 6, 1), (3, 2, 2))), ("test", tested)):
        names, table = [], []
        for number, (pid, camid, frames) in enumerate(tracklets, start=1):
            person = "00-1" if pid == -1 else f"{pid:04}"
            table.append((len(names) + 1, len(names) + frames, pid, camid))
            names += [f"{person}C{camid}T{number:04}F{frame + 1:03}.jpg" for frame in range(frames)]
        for name in names:
            path = root / f"bbox_{subset}" / name[:4] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (root / "info").mkdir(exist_ok=True)
        (root / "info" / f"{subset}_name.txt").write_text("\n".join(names) + "\n")
        scipy_io.savemat(root / "info" / f"tracks_{subset}_info.mat", {f"track_{subset}_info": np.int32(table)})
    scipy_io.savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.uint16([[3, 5]])})
    return root


def units(samples: tuple[Sample, ...]) -> list[tuple[int, int, str | None]]:
    return [(s.pid, s.camid, s.track) for s in samples]


def test_mars_ranks_tracklets_among_all_tested_ones(tmp_path: Path) -> None:
    make_mars(tmp_path / "MARS")
    assert recognize(tmp_path) == ("mars", tmp_path / "MARS")
    dataset = read_dataset(tmp_path)
    assert dataset.tracklets
    assert len(dataset.train) == 5
    assert units(ranked(dataset).query) == [(2, 1, "test-3"), (4, 3, "test-5")]
    numbered = [(pid, cam, f"test-{n}") for n, (pid, cam, _) in enumerate(TESTED, start=1)]
    assert units(ranked(dataset).gallery) == numbered
    # A gallery takes all subsets, and knows a track by its camera and name.
    assert not {(s.camid, s.track) for s in dataset.train} & {(s.camid, s.track) for s in dataset.gallery}
    assert dataset.query[0].path == tmp_path / "MARS/bbox_test/0002/0002C1T0003F001.jpg"
    assert any("2 queries and 6 in the gallery" in note for note in dataset.notes)
    other = read_dataset(tmp_path, protocol="without-queries")
    assert [s.track for s in ranked(other).gallery] == ["test-1", "test-2", "test-4", "test-6"]
    few = read_dataset(tmp_path, frames=2)
    assert [len(s) for s in few.subsets.values()] == [5, 4, 12]
    assert few.fingerprint() != dataset.fingerprint() != replace(dataset, tracklets=False).fingerprint()


def test_mars_refuses_files_that_do_not_fit(tmp_path: Path) -> None:
    make_mars(tmp_path)
    with pytest.raises(ValueError, match="official, without-queries"):
        read_mars(tmp_path, protocol="other")
    with pytest.raises(ValueError, match="frames=0"):
        read_mars(tmp_path, frames=0)
    table = tmp_path / "info" / "tracks_test_info.mat"
    scipy_io.savemat(table, {"track_test_info": np.int32([[1, 99, 2, 1]])})
    with pytest.raises(DataError, match=r"tracks_test_info.mat does not fit"):
        read_mars(tmp_path)
    scipy_io.savemat(table, {"track_test_info": np.int32([[1, 2, 2, 1]])})
    with pytest.raises(DataError, match=r"query_IDX.mat does not fit"):
        read_mars(tmp_path)
    table.write_bytes(b"something else")
    with pytest.raises(DataError, match="does not hold track_test_info"):
        read_mars(tmp_path)


def make_sequences(root: Path, camera: str, people: dict[int, int], width: int) -> None:
    for pid, frames in people.items():
        folder = root / camera / (f"person_{pid:0{width}}" if width == 4 else f"person{pid:0{width}}")
        folder.mkdir(parents=True)
        for frame in range(frames):
            (folder / f"{frame + 1:04}.png").touch()


def test_ilids_vid_follows_its_published_splits(tmp_path: Path) -> None:
    for camera in ("cam1", "cam2"):
        make_sequences(tmp_path / "i-LIDS-VID" / "sequences", camera, dict.fromkeys((1, 5, 9, 11), 3), 3)
    assert recognize(tmp_path) == ("ilids-vid", tmp_path)
    random = read_dataset(tmp_path)
    assert any("No file of published splits" in note for note in random.notes)
    assert len({s.pid for s in random.query}) == 2
    splits = tmp_path / "train-test people splits"
    splits.mkdir()
    scipy_io.savemat(splits / "train_test_splits_ilidsvid.mat", {"ls_set": np.float64([[1, 2, 3, 4], [4, 2, 1, 3]])})
    dataset = read_dataset(tmp_path, split=1, frames=1)
    assert units(dataset.query) == [(5, 1, "5"), (11, 1, "11")]
    assert units(dataset.gallery) == [(5, 2, "5"), (11, 2, "11")]
    assert {s.pid for s in dataset.train} == {1, 9}
    with pytest.raises(ValueError, match="has the splits 0 to 1"):
        read_dataset(tmp_path, split=2)
    for damaged in ([[1, 2, 3]], [[1, 2, 3, 4], [1, 2, 3, 9]]):
        scipy_io.savemat(splits / "train_test_splits_ilidsvid.mat", {"ls_set": np.float64(damaged)})
        with pytest.raises(DataError, match="orders other people than the 4"):
            read_dataset(tmp_path)


def test_prid_sequences_of_27_frames_count(tmp_path: Path) -> None:
    make_sequences(tmp_path / "prid_2011/multi_shot", "cam_a", {1: 27, 2: 26, 3: 30, 4: 27, 5: 27, 201: 30}, 4)
    make_sequences(tmp_path / "prid_2011/multi_shot", "cam_b", {1: 27, 2: 30, 3: 27, 4: 28, 5: 27, 201: 30}, 4)
    assert recognize(tmp_path) == ("prid2011-video", tmp_path)
    assert {s.pid for d in (read_dataset(tmp_path),) for some in d.subsets.values() for s in some} == {1, 3, 4, 5}
    assert len({read_dataset(tmp_path, split=split).query for split in range(5)}) > 1
    (tmp_path / "splits_prid2011.json").write_text(json.dumps([{"train": ["person_0001"], "test": ["person_0004"]}]))
    dataset = read_dataset(tmp_path)
    assert {s.pid for s in dataset.query} == {s.pid for s in dataset.gallery} == {4}
    assert {s.pid for s in dataset.train} == {1, 3, 5}
    (tmp_path / "splits_prid2011.json").write_text("{}[")
    with pytest.raises(DataError, match="does not hold PRID 2011's splits"):
        read_dataset(tmp_path)


def test_frames_are_spread_evenly() -> None:
    assert list(spread_out(range(9), 3)) == [1, 4, 7]
    assert list(spread_out(range(10), 10)) == list(spread_out(range(10), None)) == list(range(10))
    assert list(spread_out(range(10), 1)) == [5]


def test_pooling_is_the_mean_of_each_tracklets_frames() -> None:
    samples = tuple(
        Sample(Path(f"{n}.jpg"), pid, cam, track=t)
        for n, (pid, cam, t) in enumerate([(1, 1, "a"), (1, 2, "a"), (1, 1, "a"), (2, 1, None), (2, 1, None)])
    )
    dataset = by_tracklets(ReidDataset("d", Path(), (), samples[:1], samples))
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = np.stack([(rows[0] + rows[2]) / 2, rows[1], rows[3], rows[4]])
    np.testing.assert_allclose(pooled(dataset, samples, rows, unit=False), expected, rtol=1e-6)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(pooled(dataset, samples, rows), unit, rtol=1e-6)
    assert pooled(replace(dataset, tracklets=False), samples, rows) is rows
    with pytest.raises(DataError, match="belongs to a track"):
        by_tracklets(ReidDataset("d", Path(), (), samples[3:], samples[3:]))


def test_other_tracks_are_another_fingerprint_where_they_are_ranked() -> None:
    samples = [Sample(Path(f"{n}.jpg"), 1, 1, track="a") for n in range(2)]
    one, two = (
        ReidDataset("d", Path(), (), (samples[0],), (samples[0], s))
        for s in (samples[1], replace(samples[1], track="b"))
    )
    assert one.fingerprint() == two.fingerprint()
    assert by_tracklets(one).fingerprint() != by_tracklets(two).fingerprint()


def test_the_doctor_counts_tracklets(tmp_path: Path) -> None:
    found = examine_dataset(read_dataset(make_mars(tmp_path)))
    gallery = found.subsets[2]
    assert (gallery.found.tracklets, gallery.found.images, gallery.junk, gallery.distractors) == (5, 14, 2, 3)
    text = as_text(found)
    assert "# tracklets" in text
    assert f"5 ({OFFICIAL['mars']['gallery'].tracklets:,})" in text


def test_tracklets_joined_stay_tracklets_and_a_holdout_ranks_images(tmp_path: Path) -> None:
    one, two = (read_dataset(make_mars(tmp_path / name)) for name in "ab")
    both = join([one, two])
    assert both.tracklets
    assert len(ranked(both).query) == 4
    cut = holdout(one)
    assert not cut.tracklets
    assert not any(note.startswith("Tracklets are ranked") for note in cut.notes)
    assert join([replace(two, train=()), replace(one, query=(), gallery=(), tracklets=False)]).tracklets
    mixed = join([one, replace(two, tracklets=False, notes=())])
    assert not mixed.tracklets
    assert not any("Tracklets are ranked" in note for note in mixed.notes)
