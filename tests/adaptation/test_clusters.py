"""Clusters in place of labels: what tracks and times allow, and what nothing can be learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam.adaptation.pseudo_labels import (
    Rows,
    _numbered,
    _split,
    check_clusters,
    cluster,
    measure,
    track_silhouette,
)
from crosscam.adaptation.units import units_of
from crosscam.data.records import Sample
from crosscam.errors import DataError
from crosscam.recipes.choices import Adapt

SETTINGS = Adapt(eps=0.6, min_images=2, k1=6, k2=2)
PEOPLE, TRACKS, IMAGES = 6, 3, 4
# So many that the other tracks of a person are the neighbors.
OF_TRACKS = Adapt(eps=0.6, min_images=2, k1=2, k2=1)


def sample(number: int, camid: int = 1, time: float | None = None, track: str | None = None) -> Sample:
    return Sample(Path(f"{number}.jpg"), 0, camid, time=time, track=track)


def look_alikes(rng: np.random.Generator, people: int, images: int, spread: float = 0.05) -> Rows:
    """(people * images, 16) of length 1: the images of a person side by side and close together."""
    rows = np.repeat(rng.normal(size=(people, 16)), images, axis=0) + spread * rng.normal(size=(people * images, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_two_people_of_one_frame_never_share_a_cluster(seed: int) -> None:
    """Frames of three people who look exactly alike."""
    rng = np.random.default_rng(seed)
    rows = look_alikes(rng, 4, 15, spread=1e-3)
    camids, times = rng.integers(1, 3, len(rows)), rng.integers(0, 5, len(rows)) + 0.5
    samples = [sample(k, int(camids[k]), float(times[k])) for k in range(len(rows))]
    labels = cluster(rows, units_of(samples, SETTINGS), SETTINGS)
    assert (labels >= 0).sum() > 20
    for label in range(labels.max() + 1):
        frames = [(s.camid, s.time) for s, k in zip(samples, labels, strict=True) if k == label]
        assert len(set(frames)) == len(frames)
    free = cluster(rows, units_of(samples, Adapt(apart="none")), SETTINGS)
    assert free.max() < labels.max(), "without times they do share clusters"


def tracked(rng: np.random.Generator, *, overlapping: bool) -> tuple[Rows, list[Sample]]:
    """Tracks of people at one camera; each track's last image looks like another person."""
    rows = look_alikes(rng, PEOPLE, TRACKS * IMAGES)
    samples = []
    for place in range(len(rows)):
        track, number = divmod(place, IMAGES)
        begin = 0.0 if overlapping else 100.0 * track
        samples.append(sample(place, 1, begin + number + 0.01 * track, f"t{track}"))
        if number == IMAGES - 1:
            rows[place] = rows[(place + len(rows) // 2) % len(rows)]
    return rows, samples


def test_images_of_one_track_always_share_a_cluster() -> None:
    rows, samples = tracked(np.random.default_rng(0), overlapping=False)
    units = units_of(samples, SETTINGS)
    assert len(units) == PEOPLE * TRACKS
    assert units.notes == ("18 tracks: the images of each stay together.",)
    labels = cluster(rows, units, OF_TRACKS).reshape(-1, IMAGES)
    assert (labels == labels[:, :1]).all()
    assert labels.max() + 1 == PEOPLE
    alone = cluster(rows, units_of(samples, Adapt(tracks=False)), OF_TRACKS).reshape(-1, IMAGES)
    assert (alone != alone[:, :1]).any(), "without tracks they do not"


def test_tracks_that_overlap_in_time_are_different_people() -> None:
    rows, samples = tracked(np.random.default_rng(0), overlapping=True)
    units = units_of(samples, SETTINGS)
    labels = cluster(rows, units, OF_TRACKS).reshape(-1, IMAGES)
    assert (labels == labels[:, :1]).all()
    assert len(set(labels[:, 0])) == PEOPLE * TRACKS
    elsewhere = [Sample(s.path, 0, 1 + k // IMAGES, time=s.time, track=s.track) for k, s in enumerate(samples)]
    assert cluster(rows, units_of(elsewhere, OF_TRACKS), OF_TRACKS).max() + 1 == PEOPLE, "cameras can see them together"


def test_tracks_that_end_and_begin_in_one_coarse_second_may_be_one_person() -> None:
    times = {"a": (1, 1, 2), "b": (2, 2, 3), "c": (2, 3, 3)}
    samples = [sample(k, 1, float(t), track) for track, some in times.items() for k, t in enumerate(some)]
    apart = units_of(samples, SETTINGS).apart(np.array([0, 0, 1]), np.array([1, 2, 2]))
    assert apart.tolist() == [False, False, True]


def test_a_track_of_one_image_within_another_track_is_somebody_else() -> None:
    times = {"long": (1.0, 2.0, 3.0), "within": (2.5,), "at its end": (3.0,), "later": (3.5,)}
    samples = [sample(k, 1, t, track) for track, some in times.items() for k, t in enumerate(some)]
    units = units_of(samples, Adapt(apart="none"))
    assert not units.keeps_apart
    units = units_of(samples, SETTINGS)
    assert units.apart(np.zeros(3, np.int64), np.arange(1, 4)).tolist() == [True, True, False]
    assert units.apart(np.arange(1, 4), np.zeros(3, np.int64)).tolist() == [True, True, False]


def test_of_a_cluster_that_is_split_the_largest_units_choose_first_and_all_take_the_best_part() -> None:
    seen = [sample(2 + k, 2, 1.1 + k, "long") for k in range(5)]
    units = units_of([sample(0, 1, 0.5), sample(1, 1, 0.5), *seen, sample(7, 3)], SETTINGS)
    rows = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]], np.float32)
    # The track is the first part, and the first image joins it; the second was in one frame with that, and is a part
    # of its own. The last image is nearer to this one.
    assert _split(np.zeros(4, np.int64), rows, units).tolist() == [0, 1, 0, 1]


def test_clusters_that_are_too_small_after_a_split_are_none() -> None:
    assert _numbered(np.array([2, 2, 0, -1, 1, 1]), 2).tolist() == [0, 0, -1, -1, 1, 1]


def test_times_that_do_not_tell_frames_keep_nobody_apart_unless_asked() -> None:
    samples = [sample(k, 1, float(k // 4)) for k in range(12)]
    units = units_of(samples, SETTINGS)
    assert not units.keeps_apart
    assert "too coarse" in units.notes[0]
    assert units_of(samples, Adapt(apart="all")).keeps_apart


def test_images_at_unknown_cameras_are_not_kept_apart() -> None:
    units = units_of([sample(k, -1, 0.5) for k in range(2)], SETTINGS)
    assert not units.apart(np.array([0]), np.array([1])).any()


def test_the_order_of_images_changes_no_cluster() -> None:
    rng = np.random.default_rng(1)
    rows = look_alikes(rng, 8, 6)
    samples = [sample(k, k % 3 + 1) for k in range(len(rows))]
    labels = cluster(rows, units_of(samples, SETTINGS), SETTINGS)
    assert list(labels) == sorted(labels), "numbered by their first images"
    order = rng.permutation(len(rows))
    again = cluster(rows[order], units_of([samples[k] for k in order], SETTINGS), SETTINGS)
    same = labels[order][:, None] == labels[order][None]
    assert ((again[:, None] == again[None]) == same).all()


def test_clusters_that_teach_nothing_are_refused() -> None:
    with pytest.raises(DataError, match=r"No cluster among 3 images: .*adapt\.min_images=2.*adapt\.eps=0\.6"):
        check_clusters(np.full(3, -1), SETTINGS)
    with pytest.raises(DataError, match=r"All 3 clustered images are one cluster .*Lower adapt\.eps"):
        check_clusters(np.zeros(3, np.int64), SETTINGS)


def test_what_clusters_are_like() -> None:
    rows, samples = tracked(np.random.default_rng(0), overlapping=False)
    units = units_of(samples, SETTINGS)
    before = np.repeat(np.arange(6), 12)
    found = measure(np.where(before == 5, -1, before), before, rows, units)
    assert (found.clusters, found.mean_size, found.agreement) == (5, 12, 1.0)
    assert found.unclustered == pytest.approx(1 / 6)
    assert found.silhouette == track_silhouette(rows, units)
    bare = units_of([sample(k) for k in range(4)], SETTINGS)
    assert measure(np.zeros(4, np.int64), np.full(4, -1), rows[:4], bare).record() == {
        "clusters": 1,
        "unclustered": 0.0,
        "mean_size": 4.0,
    }
