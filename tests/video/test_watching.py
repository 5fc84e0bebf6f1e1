"""From a video to the tracks of a gallery: who is there, which crops, and each track once whatever is killed when."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_video import APART, HEIGHT, RATE, SPEED, WIDTH, Boxes, MeanColors, new_gallery, walk, write_video
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, DataError, GalleryBusyError, GalleryError
from crosscam.gallery import Where, open_gallery
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.interface import Gallery
from crosscam.video import watching
from crosscam.video.choosing import Choice, judge, sharpness
from crosscam.video.detections import NOTHING, Detections, as_detections
from crosscam.video.live import open_source
from crosscam.video.opening import open_detector
from crosscam.video.tracking import PlainTracker, open_tracker
from crosscam.video.tracks import WatchSettings
from crosscam.video.watching import Watched, watch

START = 1.7e9
Walkers = tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]


def watched(video: Path, truth: list[NDArray[np.float64]], gallery: Gallery, **changes: Any) -> Watched:
    """Watch with the true boxes."""
    given = {"settings": WatchSettings(tracker="plain"), "camera": "Kamera Süd", "start": START} | changes
    extractor: Any = MeanColors()
    return watch(open_source(str(video)), Boxes(truth), gallery=gallery, extractor=extractor, **given)


def people_of(gallery: Gallery, truth: list[NDArray[np.float64]]) -> dict[str, set[int]]:
    """Who is on the crops of each track, by the true box nearest to each."""
    found: dict[str, set[int]] = {}
    for entry in gallery.entries():
        place = Fragment.read(entry.path)
        assert place is not None
        boxes = truth[place.frame]
        left, top, width, height = place.box
        apart = np.abs(boxes[:, :4] - (left, top, left + width, top + height)).max(axis=1)
        assert apart.min() <= 1
        found.setdefault(str(entry.track), set()).add(int(boxes[apart.argmin(), 4]))
    return found


def test_each_person_is_one_track_with_its_best_crops(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    with new_gallery(tmp_path / "g") as gallery:
        found = watched(video, walkers[1], gallery)
        assert (found.tracks, found.known, found.frames) == (3, 0, 75)
        people = people_of(gallery, walkers[1])
        assert sorted(people.values(), key=min) == [{0}, {1}, {2}], "one person a track, one track a person"
        assert gallery.camera_names() == {1: "Kamera Süd"}
        for entry, thumbnail in zip(gallery.entries(), gallery.thumbnails(gallery.ids()), strict=True):
            place = Fragment.read(entry.path)
            assert place is not None
            assert place.video == str(video)
            assert place.seconds == pytest.approx(place.frame / RATE)
            assert entry.time == pytest.approx(START + place.seconds)
            person = next(iter(people[str(entry.track)]))
            first = next(i for i, boxes in enumerate(walkers[1]) if person in boxes[:, 4])
            assert place.seen[0] == pytest.approx(first / RATE, abs=1e-3)
            assert place.box[0] > 0, "not cut off by the edge"
            assert place.box[0] + place.box[2] < WIDTH
            assert thumbnail is not None
        counts = Counter(e.track for e in gallery.entries())
        assert all(2 <= count <= 4 for count in counts.values())
        again = watched(video, walkers[1], gallery)
        assert again.complete
        assert len(gallery) == found.crops


def test_a_fragment_is_read_as_it_was_written() -> None:
    for place in (
        Fragment("/videos/a#t=1 b.mp4", 4.92, (310, 88, 64, 171), 123, (1.2, 9.84)),
        Fragment("rtsp://hall/1", 1_700_000_000.25, (0, 0, 5, 9), 7, (1_699_999_999.0, 1_700_000_003.5), live=True),
    ):
        assert Fragment.read(str(place)) == place
    assert str(place).startswith("rtsp://hall/1#t=clock:2023-11-14T22:13:20.250Z&xywh=0,0,5,9&")
    plain = Fragment.read("/v.mp4#t=2&xywh=1,2,3,4")
    assert plain == Fragment("/v.mp4", 2.0, (1, 2, 3, 4), -1, (2.0, 2.0))
    for path in ("/a.jpg", "/v.mp4#t=2", "/v.mp4#t=x&xywh=1,2,3,4", "#", "/v.mp4#t=nan&xywh=1,2,3,4"):
        assert Fragment.read(path) is None


# The first two tracks are over at about frame 54 and 69, the third one at the end.
INSTANTS = [("frame", 1), ("frame", 60), ("added", 0), ("remembered", 0), ("added", 1), ("added", 2)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_instant_leaves_each_track_once(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    with new_gallery(tmp_path / "whole") as gallery:
        watched(video, walkers[1], gallery)
        whole = [(e.path, e.time, e.track) for e in gallery.entries()]
    instants = [(tmp_path / f"{where}{after}", where, after) for where, after in INSTANTS]
    for place, _, _ in instants:
        new_gallery(place).close()
    program = [sys.executable, str(Path(__file__).with_name("killed_watch.py"))]
    given = pickle.dumps((str(video), walkers[1], instants))
    done = subprocess.run(program, input=given, capture_output=True, timeout=600, check=False)
    assert done.stdout.split() == [b"-9"] * len(instants), done.stderr.decode()
    between = 0
    for place, where, after in instants:
        with open_gallery(place, write=True) as gallery:
            between += 0 < len(gallery) < len(whole)
            watched(video, walkers[1], gallery)
            assert sorted((e.path, e.time, e.track) for e in gallery.entries()) == sorted(whole), (where, after)
            assert gallery.verify().sound
    assert between >= 3, "several kills fell between two tracks"


def test_after_a_kill_no_frame_goes_to_the_detector_twice(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    asked: list[int] = []

    def detector(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
        asked.append(len(asked))
        return walkers[1][sum(map(len, halves)) if (halves := [asked[:-1]]) else 0][:, :4]

    def stop(found: Watched) -> None:
        if found.frames == 40:
            raise KeyboardInterrupt

    extractor: Any = MeanColors()
    given: dict[str, Any] = {"extractor": extractor, "camera": "1", "settings": WatchSettings(tracker="plain")}
    with new_gallery(tmp_path / "g") as gallery:
        with pytest.raises(KeyboardInterrupt):
            watch(open_source(str(video)), detector, gallery=gallery, progress=stop, **given)
        assert len(asked) == 40
        found = watch(open_source(str(video)), detector, gallery=gallery, **given)
        assert len(asked) == 75, "each frame once"
        assert (found.frames, found.tracks) == (75, 3)
        assert {len(p) for p in people_of(gallery, walkers[1]).values()} == {1}
        assert {e.camid for e in gallery.entries()} == {1}
        assert gallery.camera_names() == {}


def test_what_was_forgotten_does_not_come_back(video: Path, walkers: Walkers, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(watching, "TRACKS_AT_ONCE", 1)

    def stop(found: Watched) -> None:
        if found.tracks == 1:
            raise KeyboardInterrupt

    with new_gallery(tmp_path / "g") as gallery:
        with pytest.raises(KeyboardInterrupt):
            watched(video, walkers[1], gallery, progress=stop)
        names = {e.track for e in gallery.entries()}
        gallery.forget(Where(tracks=tuple(map(str, names))))
        watched(video, walkers[1], gallery)
        assert len({e.track for e in gallery.entries()}) == 2
        assert not names & {e.track for e in gallery.entries()}
        watched(video, walkers[1], gallery, again=True)
        assert len({e.track for e in gallery.entries()}) == 3


def test_others_write_the_gallery_while_a_video_is_watched(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    """Two videos at once, each track once; the same one is refused, and so is the same live source."""
    other = write_video(tmp_path / "other.mp4", walkers[0][:70])
    said: list[str] = []

    def beside(found: Watched) -> None:
        if found.frames == 40:
            with open_gallery(tmp_path / "g") as mine:
                with pytest.raises(GalleryBusyError) as refused:
                    watched(video, walkers[1], mine, camera="other")
                said.append(str(refused.value))
                assert watched(other, walkers[1], mine, camera="other").tracks == 3
                mine_names = {e.track for e in mine.entries()}
            with open_gallery(tmp_path / "g", write=True) as writer:
                assert writer.forget(Where(tracks=(max(map(str, mine_names)),))) > 0

    new_gallery(tmp_path / "g").close()
    with open_gallery(tmp_path / "g") as gallery:
        assert watched(video, walkers[1], gallery, progress=beside).tracks == 3
        assert sorted(Counter(e.camid for e in {e.track: e for e in gallery.entries()}.values()).items()) == [
            (1, 2),
            (2, 3),
        ]
        assert gallery.camera_names() == {1: "other", 2: "Kamera Süd"}
        assert watched(video, walkers[1], gallery).complete
        assert watched(other, walkers[1], gallery, camera="other").complete
    assert said == [
        f"{video} is being watched into {tmp_path / 'g'} by process {os.getpid()} on "
        f"{socket.gethostname()}. Wait until it is done."
    ]
    assert list((tmp_path / "g").glob("watch-*")) == []


def test_tracks_wait_while_another_program_writes(
    video: Path, walkers: Walkers, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(watching, "TRACKS_AT_ONCE", 1)
    notes: list[str] = []
    new_gallery(tmp_path / "g").close()
    with ExitStack() as others:

        def hold(found: Watched) -> None:
            if found.frames == 40:
                others.enter_context(open_gallery(tmp_path / "g", write=True))

        monkeypatch.setattr(watching.clock, "sleep", lambda _: others.close())
        with open_gallery(tmp_path / "g") as gallery:
            found = watched(video, walkers[1], gallery, progress=hold, note=notes.append)
            assert found.crops == len(gallery) > 0
            assert {len(p) for p in people_of(gallery, walkers[1]).values()} == {1}
            assert watched(video, walkers[1], gallery).complete
    assert len(notes) == 1
    assert f"is being written by process {os.getpid()} on " in notes[0]
    assert notes[0].endswith(": tracks wait until that is done.")


def test_the_same_video_in_another_way_is_refused(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    with new_gallery(tmp_path / "g") as gallery:
        watched(video, walkers[1], gallery)
        count = len(gallery)
        for change, said in (
            ({"camera": "other"}, "was watched with camera Kamera Süd, and now it is other"),
            ({"start": None}, "was watched with start 2023-11-14T22:13:20\\+00:00, and now it is not given"),
            ({"settings": WatchSettings(tracker="plain", crops=2)}, "with crops 4, and now it is 2"),
        ):
            with pytest.raises(GalleryError, match=said):
                watched(video, walkers[1], gallery, **change)
        assert len(gallery) == count
        again = watched(video, walkers[1], gallery, settings=WatchSettings(tracker="plain", crops=1), again=True)
        assert (again.tracks, len(gallery)) == (3, 3)


def test_a_moved_video_is_the_same_video(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    (tmp_path / "moved.mp4").write_bytes(video.read_bytes())
    with new_gallery(tmp_path / "g") as gallery:
        watched(video, walkers[1], gallery)
        assert watched(tmp_path / "moved.mp4", walkers[1], gallery).complete


def test_a_recording_that_has_grown_is_told_of(walkers: Walkers, tmp_path: Path) -> None:
    notes: list[str] = []
    with new_gallery(tmp_path / "g") as gallery:
        video = write_video(tmp_path / "v.mp4", walkers[0][:45])
        first = watched(video, walkers[1], gallery, note=notes.append)
        assert notes == []
        write_video(video, walkers[0])
        whole = watched(video, walkers[1], gallery, note=notes.append)
        assert (len(notes), len(gallery)) == (1, first.crops + whole.crops)
        assert f"{first.tracks} tracks of that" in notes[0]
        assert "--again forgets both" in notes[0]
        once = watched(video, walkers[1], gallery, note=notes.append, again=True)
        assert (len(notes), len(gallery)) == (1, once.crops)
        write_video(video, walkers[0][:40])
        watched(video, walkers[1], gallery, note=notes.append, start=START + 3600)
        assert len(notes) == 1, "another recording under the name of the last one"


def test_boxes_of_another_video_are_told_of(walkers: Walkers, tmp_path: Path) -> None:
    video, det, notes = write_video(tmp_path / "v.mp4", walkers[0][:10]), tmp_path / "det.txt", list[str]()
    det.write_text("".join(f"{frame},-1,100,30,50,110,1\n" for frame in range(1, 15)))
    watch(open_source(str(video)), open_detector(str(det)), out=tmp_path / "out", note=notes.append)
    assert len(notes) == 1
    assert "boxes in 4 frames behind the last one" in notes[0]
    for frame in ("0", "nan", "1.5", "inf"):
        det.write_text(f"{frame},-1,100,30,50,110,1\n")
        with pytest.raises(DataError, match=f"line 1: frame {frame}. Frames of a MOT det.txt count from 1"):
            open_detector(str(det))
    for box in ("9,9,-5,20", "9,9,5,inf", "nan,9,5,20"):
        det.write_text(f"1,-1,{box},1\n")
        with pytest.raises(DataError, match="line 1: a box of"):
            open_detector(str(det))


def test_files_instead_of_a_gallery(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    settings = WatchSettings(tracker="plain")
    found = watch(open_source(str(video)), Boxes(walkers[1]), out=tmp_path / "out", settings=settings)
    lines = (tmp_path / "out" / "tracks.txt").read_text().splitlines()
    assert len(lines) == sum(map(len, walkers[1])), "every box is in a track"
    assert {line.split(",")[1] for line in lines} == {"1", "2", "3"}
    reasons = (tmp_path / "out" / "crops.csv").read_text()
    assert "whole, alone, 1" in reasons
    crops = tmp_path / "out" / "crops"
    assert len(list(crops.iterdir())) == found.crops
    (crops / "mine.jpg").touch()
    settings = WatchSettings(tracker="plain", crops=1)
    fewer = watch(open_source(str(video)), Boxes(walkers[1]), out=tmp_path / "out", settings=settings)
    assert len(list(crops.iterdir())) == fewer.crops + 1 < found.crops, "crops of the time before are gone"
    with pytest.raises(ArgumentError, match="Nothing would be kept"):
        watch(open_source(str(video)), Boxes(walkers[1]))


def test_faults_of_boxes_in_words() -> None:
    boxes = np.array([[10, 10, 50, 110], [0, 10, 40, 110], [15, 20, 55, 120], [80, 10, 100, 50], [80, 60, 180, 140]])
    judged = judge(as_detections(boxes), 200, 200, 64)
    assert judged.faults == (
        "covered by another person",
        "cut off by the edge of the frame",
        "",
        "less than 64 px tall",
        "not of the shape of a standing person",
    )
    assert judged.covered[2] == 0, "the feet are lower in the frame: this one is in front"


def test_the_best_crops_of_a_track_are_apart_in_time() -> None:
    frame, choice = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8), Choice(2)
    kept = []
    for number, (seconds, score) in enumerate([(0, 0.5), (0.1, 0.9), (0.2, 0.4), (1, 0.6), (2, 0.7), (3, 0.1)]):
        choice.offer(frame, number, seconds, np.array([10.0, 10, 60, 110]), score, covered=0.0)
        kept.append([crop.frame for crop in choice.kept])
    assert kept == [[0], [1], [1], [1, 3], [1, 4], [1, 4]]


def test_a_track_without_a_good_crop_is_left_out_with_the_reason(video: Path, walkers: Walkers, tmp_path: Path) -> None:
    with new_gallery(tmp_path / "g") as gallery:
        found = watched(video, walkers[1], gallery, settings=WatchSettings(tracker="plain", min_height=150))
        assert found.left_out == {"less than 150 px tall": 3}
        assert len(gallery) == 0


def test_sharp_crops_are_sharper() -> None:
    from PIL import Image, ImageFilter

    pixels = np.random.default_rng(0).integers(0, 255, (128, 64, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)))
    assert sharpness(pixels) > 3 * sharpness(blurred)


def test_long_tracks_are_cut_and_memory_is_bounded(walkers: Walkers, tmp_path: Path) -> None:
    """Somebody who stands in the view for ever is written now and then."""
    frame, boxes = walkers[0][15], walkers[1][15]
    video = write_video(tmp_path / "v.mkv", [frame] * 80)
    settings = WatchSettings(tracker="plain", longest=2.0)
    with new_gallery(tmp_path / "g") as gallery:
        found = watched(video, [boxes] * 80, gallery, settings=settings)
        people = sum(not fault for fault in judge(as_detections(boxes[:, :4]), HEIGHT, WIDTH, 64).faults)
        assert found.tracks == 4 * people


def near(number: int, seen: Callable[[int], bool]) -> Detections:
    """Two people who walk towards each other and past, 100 px apart in height; some frames see only one."""
    boxes = [[10 + 8 * number, 10, 50 + 8 * number, 110], [400 - 8 * number, 120, 440 - 8 * number, 220]]
    return as_detections(np.array(boxes, dtype=float)[: 2 if seen(number) else 1])


@pytest.mark.parametrize("name", ["plain", "bytetrack", "ocsort"])
def test_trackers_keep_people_through_gaps(name: str) -> None:
    if name != "plain":
        pytest.importorskip("trackers")
    tracker = open_tracker(name, RATE)
    numbers = [tracker.update(near(n, lambda i: i % 7 < 5), n / RATE) for n in range(40)]
    assert {int(n[0]) for n in numbers[2:]} == {int(numbers[5][0])}
    assert {int(n[1]) for n in numbers[2:] if len(n) == 2} == {int(numbers[2][1])}


def test_unlikely_boxes_continue_tracks_but_begin_none() -> None:
    tracker = PlainTracker()
    box = np.array([[10.0, 10, 50, 110]])
    assert tracker.update(Detections(box, np.array([0.2])), 0.0).tolist() == [-1]
    assert tracker.update(Detections(box, np.array([0.9])), 0.1).tolist() == [1]
    assert tracker.update(Detections(box + 2, np.array([0.2])), 0.2).tolist() == [1]
    assert tracker.update(Detections(box + 2, np.array([0.9])), 5.0).tolist() == [1], "the next frame, however late"
    for seconds in (6.0, 6.5, 7.0):
        tracker.update(NOTHING, seconds)
    assert tracker.update(Detections(box + 2, np.array([0.9])), 7.5).tolist() == [2], "lost for too long"


def test_the_walk_is_what_the_tests_take_it_for() -> None:
    _, truth = walk(2 * APART + 5)
    assert {int(p) for boxes in truth for p in boxes[:, 4]} == {0, 1, 2}
    assert truth[12][0, 0] - truth[11][0, 0] == pytest.approx(SPEED, abs=25)
