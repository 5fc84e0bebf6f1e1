"""Trackers: people behind a pillar, and what the package ``trackers`` is given and gives back."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from drawn_video import RATE, Boxes

from crosscam.video import tracking, watching
from crosscam.video.decoding import Frame
from crosscam.video.detections import Detections, as_detections
from crosscam.video.live import open_source
from crosscam.video.tracking import LibraryTracker, PlainTracker
from crosscam.video.tracks import OpenTracks, WatchSettings
from crosscam.video.watching import watch


@pytest.mark.parametrize("rate", [5, 10, 25])
def test_a_person_behind_a_pillar_is_the_same_person(rate: int) -> None:
    """At 90 px a second, with boxes that tremble, and one second unseen."""
    tracker, rng = PlainTracker(), np.random.default_rng(0)
    numbers = []
    for k in range(4 * rate):
        seconds = k / rate
        box = np.array([[90 * seconds, 10, 90 * seconds + 40, 110]]) + rng.normal(0, 1.5, (1, 4))
        seen = not 2.0 < seconds < 2.95
        numbers += tracker.update(as_detections(box if seen else box[:0]), seconds).tolist()
    assert set(numbers) == {1}


def box_at(left: float) -> np.ndarray:
    return np.array([[left, 10.0, left + 40, 110]])


def test_a_track_that_is_not_seen_stops_after_a_second() -> None:
    tracker = PlainTracker()
    for k in range(26):  # 200 px a second
        tracker.update(as_detections(box_at(8 * k)), k / 25)
    for seconds in (1.8, 2.1, 2.3):
        tracker.update(as_detections(box_at(0)[:0]), seconds)
    assert tracker.update(as_detections(box_at(400)), 2.4).tolist() == [1]


def test_very_unlikely_boxes_continue_no_track() -> None:
    tracker = PlainTracker()
    tracker.update(as_detections(box_at(0)), 0.0)
    assert tracker.update(Detections(box_at(0), np.array([0.05])), 0.1).tolist() == [-1]


def test_a_box_beside_the_track_continues_it() -> None:
    tracker = PlainTracker()
    tracker.update(as_detections(box_at(0)), 0.0)
    assert tracker.update(as_detections(box_at(45)), 0.5).tolist() == [1]


def test_a_number_that_comes_back_after_its_track_was_over_is_a_new_track() -> None:
    class One:
        def update(self, found: Detections, seconds: float) -> np.ndarray:
            return np.array([7])

    tracks = OpenTracks(One(), WatchSettings(longest=1.0))
    frame = np.zeros((200, 200, 3), np.uint8)
    ended = [tracks.add(Frame(n, n / 2, frame), as_detections(box_at(10))) for n in range(8)]
    assert [track.number for some in (*ended, tracks.end()) for track in some] == [1, 2]


class Package:
    """A tracker with the interface of the package: it names a track from its second box on."""

    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **given: Any) -> None:
        self.made.append(given)
        self.tracks: list[types.SimpleNamespace] = []
        self._named = 0

    def update(self, found: Any, timestamp: float) -> Any:
        """Match by overlap."""
        names = []
        for box in found.xyxy:
            near = [t for t in self.tracks if tracking.overlaps(t.box[None], box[None])[0, 0] > 0.3]
            if near:
                near[0].box = box
                if near[0].tracker_id < 0:
                    near[0].tracker_id, self._named = self._named, self._named + 1
            names.append(near[0].tracker_id if near else -1)
        for box in [box for box, name in zip(found.xyxy, names, strict=True) if name < 0]:
            track = types.SimpleNamespace(tracker_id=-1, box=box)
            track.get_state_bbox = lambda track=track: track.box
            self.tracks.append(track)
        found.tracker_id = np.array(names, int)
        return found


class Given(types.SimpleNamespace):
    """``Detections`` of supervision."""

    def __len__(self) -> int:
        return len(self.xyxy)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The package, and what its trackers were made with."""
    Package.made = []
    modules = {
        "supervision": types.SimpleNamespace(Detections=Given),
        "trackers": types.SimpleNamespace(ByteTrackTracker=Package, OCSORTTracker=Package),
    }
    monkeypatch.setattr("crosscam.system.import_module", modules.__getitem__)
    return Package.made


def boxes_at(seconds: float) -> Detections:
    left = 60 * seconds
    return as_detections(np.array([[left, 10, left + 40, 110], [300 - left, 120, 340 - left, 220]]))


@pytest.mark.parametrize("name", ["bytetrack", "ocsort"])
def test_tracks_of_the_package_begin_at_their_first_box(package: list[dict[str, Any]], name: str) -> None:
    tracker = LibraryTracker(name, 10.0)
    numbers = [tracker.update(boxes_at(k / 10), k / 10).tolist() for k in range(6)]
    assert numbers == [[1, 2]] * 6
    assert len(package) == 1


def test_a_frame_rate_that_is_wrong_is_set_right(package: list[dict[str, Any]]) -> None:
    """Of a live source, say: the filters of the package expect about one frame's time between two frames."""
    tracker = LibraryTracker("bytetrack", 25.0)
    numbers = [tracker.update(boxes_at(k / 4), k / 4).tolist() for k in range(20)]
    assert [made["frame_rate"] for made in package] == [25.0, pytest.approx(4.0)]
    assert all(-1 not in found for found in numbers)
    assert len({tuple(found) for found in numbers}) == 2, "once, and not again"


def test_a_tracker_knows_the_sources_frame_rate(
    walkers: tuple[list, list], video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def open_tracker(_: str, rate: float) -> PlainTracker:
        asked.append(rate)
        return PlainTracker()

    monkeypatch.setattr(watching, "open_tracker", open_tracker)
    for number, rate in enumerate((None, 4.0, 100.0)):
        watch(open_source(str(video)), Boxes(walkers[1]), settings=WatchSettings(rate=rate), out=tmp_path / str(number))
    assert asked == [RATE, 4.0, RATE]
