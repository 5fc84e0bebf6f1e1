"""Boxes, frames and videos, and a tracker that follows people by their descriptors alone."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam.data.crops import crop_boxes, upright, video_frames
from crosscam.data.images import decode_image
from crosscam.data.records import ReidDataset
from crosscam.errors import DataError
from crosscam.inference.extractor import Extractor
from crosscam.inference.tracker_features import TrackerFeatures
from crosscam.recipes.catalogue import build_model, find_recipe


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    import torch

    torch.manual_seed(0)
    recipe = find_recipe("demo")
    return Extractor(build_model(recipe, 0), recipe)


FRAME = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@given(
    st.lists(
        st.tuples(st.floats(-20, 79.5), st.floats(-20, 59.5), st.floats(0.6, 90), st.floats(0.6, 90)).filter(
            lambda b: b[0] + b[2] > 0.5 and b[1] + b[3] > 0.5
        ),
        max_size=4,
    )
)
def test_crops_hold_each_pixel_that_a_box_touches(boxes: list[tuple[float, float, float, float]]) -> None:
    edges = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    for crop, (left, top, right, bottom) in zip(crop_boxes(FRAME, edges), edges, strict=True):
        rows = [y for y in range(60) if y + 1 > top and y < bottom]
        columns = [x for x in range(80) if x + 1 > left and x < right]
        assert np.array_equal(crop, FRAME[np.ix_(rows, columns)])


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, 5, 5], [90, 0, 95, 5]], "Box 1 is .* holds no pixel of a frame of 80 x 60"),
        ([[5, 5, 5, 9]], "Box 0 is"),
        ([[9, 9, 5, 12]], "Box 0 is"),
        ([[0, 0, float("nan"), 5]], "four finite numbers"),
        ([[1e30, 0, 2e30, 5]], "Box 0 is .* holds no pixel"),
        ([[0, -(2.0**80), 5, -(2.0**70)]], "Box 0 is .* holds no pixel"),
        ([[2**63, 0, 2**63 + 5, 5]], "Box 0 is .* holds no pixel"),
        (np.array([[2**63, 0, 2**64 - 1, 5]], np.uint64), "Box 0 is .* holds no pixel"),
        ([[0, 0, float("inf"), 5]], "four finite numbers"),
        ([[1e308, 0, 1.5e308, 5]], "Box 0 is .* holds no pixel"),
        ([0, 0, 5, 5], r"Boxes are \(N, 4\)"),
        ([[0, 0, 5]], r"Boxes are \(N, 4\)"),
    ],
)
def test_boxes_that_hold_nothing_are_refused(boxes: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crop_boxes(FRAME, boxes)


def test_a_box_far_larger_than_the_frame_is_the_frame() -> None:
    (crop,) = crop_boxes(FRAME, [[-1e30, -(2.0**63), 2.0**64, 1e300]])
    assert np.array_equal(crop, FRAME)


def test_frames_and_colors_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="A frame is"):
        crop_boxes(FRAME[:, :, 0], [])
    with pytest.raises(ValueError, match="Unknown color"):
        crop_boxes(FRAME, [[0, 0, 5, 5]], "grey")  # type: ignore[arg-type]


def test_boxes_are_described_as_their_crops(extractor: Extractor) -> None:
    boxes = [[0, 0, 30, 60], [40, 10, 80, 50]]
    found = extractor.boxes(FRAME, boxes)
    assert np.array_equal(found, extractor([FRAME[0:60, 0:30], FRAME[10:50, 40:80]]))
    assert np.array_equal(found, extractor.boxes(FRAME[:, :, ::-1], np.array(boxes), "bgr"))
    for nothing in ([], np.empty((0, 4))):
        assert extractor.boxes(FRAME, nothing).shape == (0, extractor.dim)


@dataclass
class FakeDetections:
    xyxy: np.ndarray


class FakeTracker:
    """Matches detections of one frame with those of the last by appearance alone, as a tracker's second stage does."""

    def __init__(self, reid_model: TrackerFeatures) -> None:
        self.reid_model = reid_model
        self.known: np.ndarray | None = None

    def update(self, detections: FakeDetections, frame: np.ndarray) -> np.ndarray:
        features = self.reid_model.extract_features(detections, frame)
        if self.known is None:
            self.known = features
        return (features @ self.known.T).argmax(axis=1)


def scene(people: list[np.ndarray], places: list[int]) -> np.ndarray:
    frame = np.full((128, 320, 3), 90, np.uint8)
    for person, x in zip(people, places, strict=True):
        frame[:, x : x + 64] = person
    return frame


def test_a_tracker_follows_people_who_change_places(extractor: Extractor, rendered: ReidDataset) -> None:
    people = [decode_image(s.path) for s in rendered.query[:3]]
    tracker = FakeTracker(TrackerFeatures(extractor))
    for places, order in (((0, 100, 200), [0, 1, 2]), ((200, 0, 100), [0, 1, 2]), ((20, 250, 120), [0, 1, 2])):
        frame = scene(people, list(places))[:, :, ::-1]
        boxes = np.array([[x, 0, x + 64, 128] for x in places], dtype=np.float32)
        assert list(tracker.update(FakeDetections(boxes), frame)) == order
        assert list(tracker.update(FakeDetections(boxes[::-1]), frame)) == order[::-1]


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_a_video_is_described_frame_by_frame(extractor: Extractor, tmp_path: Path) -> None:
    frames = [np.roll(FRAME, 7 * i, axis=1) for i in range(3)]
    write_video(tmp_path / "v.mkv", frames)
    assert all(np.array_equal(a, b) for a, b in zip(video_frames(tmp_path / "v.mkv"), frames, strict=True))
    box = [[10, 5, 40, 55]]
    by_function = dict(extractor.video(tmp_path / "v.mkv", lambda number, frame: box * number))
    assert [len(by_function[i]) for i in range(3)] == [0, 1, 2]
    assert np.array_equal(by_function[1], extractor.boxes(frames[1], box))
    by_mapping = list(extractor.video(tmp_path / "v.mkv", {2: box}))
    assert [number for number, _ in by_mapping] == [2]
    assert np.array_equal(by_mapping[0][1], extractor.boxes(frames[2], box))


def test_boxes_of_a_video_are_a_list_a_mapping_or_a_function(extractor: Extractor, tmp_path: Path) -> None:
    video, box = tmp_path / "v.mkv", [[10, 5, 40, 55]]
    frames = [np.roll(FRAME, 7 * i, axis=1) for i in range(3)]
    write_video(video, frames)
    expected = {number: extractor.boxes(frame, box) for number, frame in enumerate(frames)}
    for boxes in ([box, None, box * 2], (box, None, np.array(box * 2)), {0: box, 1: None, 2: box * 2}):
        found = dict(extractor.video(video, boxes))
        assert list(found) == [0, 2]
        assert np.array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[2], np.repeat(expected[2], 2, axis=0), atol=2e-6)
    assert list(dict(extractor.video(video, np.array([box, box])))) == [0, 1]
    assert [rows.shape for _, rows in extractor.video(video, [[], box])] == [(0, extractor.dim), (1, extractor.dim)]
    asked: list[tuple[int, np.ndarray]] = []

    def function(number: int, frame: np.ndarray) -> list[list[int]] | None:
        asked.append((number, frame))
        return box if number else None

    assert list(dict(extractor.video(video, function))) == [1, 2]
    assert [number for number, _ in asked] == [0, 1, 2]
    assert all(np.array_equal(frame, frames[number]) for number, frame in asked)
    detections = {1: FakeDetections(np.array(box))}
    assert np.array_equal(dict(extractor.video(video, detections))[1], expected[1])


def test_boxes_of_no_frame_are_not_passed_over_in_silence(extractor: Extractor, tmp_path: Path) -> None:
    video, box = tmp_path / "v.mkv", [[10, 5, 40, 55]]
    write_video(video, [FRAME] * 3)
    with pytest.raises(DataError, match=r"v\.mkv has 3 frames.*frame 3\. None of its frames has boxes"):
        list(extractor.video(video, {3: box}))
    with pytest.warns(UserWarning, match=r"has 3 frames.*2 frames that it does not have, first 3"):
        assert len(list(extractor.video(video, [box] * 5))) == 3
    assert list(extractor.video(video, {})) == []


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[10, 5, 40, 55]], r"Item 0 of the boxes is one box, \[10, 5, 40, 55\]"),
        (np.array([[10, 5, 40, 55]]), "Item 0 of the boxes is one box"),
        ([10, 5, 40, 55], "Item 0 of the boxes is 10. Expected the"),
        ({"0": [[10, 5, 40, 55]]}, "by frame number, counted from 0; found the key '0'"),
        (((n, []) for n in range(3)), "Boxes are a generator. Expected a mapping"),
        (None, "Boxes are a NoneType"),
        ("boxes.json", "Boxes are a str"),
    ],
)
def test_boxes_of_a_video_of_another_kind_are_one_line(extractor: Extractor, boxes: object, message: str) -> None:
    # At the call, before the first frame is asked for; the video need not be there.
    with pytest.raises(ValueError, match=message) as caught:
        extractor.video("gone.mp4", boxes)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


BOXES = np.array([[0, 0, 30, 60], [40, 10, 80, 50]], np.float32)


def test_each_call_of_a_tracker_gives_the_rows_of_the_boxes(extractor: Extractor) -> None:
    features, detections = TrackerFeatures(extractor), FakeDetections(BOXES)
    bgr = np.ascontiguousarray(FRAME[:, :, ::-1])
    expected = extractor.boxes(FRAME, BOXES)
    scored = np.hstack((BOXES, [[0.9, 0], [0.8, 0]]))
    crops = [bgr[0:60, 0:30], bgr[10:50, 40:80]]
    for found in (
        features(bgr, BOXES),
        features(bgr, detections),
        features.extract_features(detections, bgr),
        features.extract_embeddings(detections, bgr),
        features.get_features(BOXES, bgr),
        features.get_features(scored, bgr),
        features.predict(crops),
        TrackerFeatures(extractor, color="rgb").predict([crop[..., ::-1] for crop in crops]),
        TrackerFeatures(extractor, colour="rgb")(FRAME, BOXES),  # as earlier versions spell it
    ):
        assert np.array_equal(found, expected)
    assert isinstance(features.predict(crops), list)
    nothing = FakeDetections(np.empty((0, 4), np.float32))
    for empty in (features.extract_embeddings(nothing, bgr), features.get_features(np.empty((0, 6)), bgr)):
        assert empty.shape == (0, extractor.dim)
    assert features.predict([]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f(BOXES, FRAME), "A frame is an"),
        (lambda f: f(None, BOXES), "A frame is an .* this one is a NoneType"),
        (lambda f: f(FRAME, object()), "Boxes are .* object has no such numbers"),
        (lambda f: f(FRAME, [[1, 2, 3, 4], [1, 2, 3]]), "Boxes are .* list has no such numbers"),
        (lambda f: f.predict([FRAME[:0]]), r"Image 0 is an array of shape \(0, 80, 3\)"),
        (lambda f: f.predict([FRAME, None]), "Image 1 is None"),
        (lambda f: f.predict([FRAME[:, :, 0]]), r"Image 0 is an array of shape \(60, 80\)"),
        (lambda f: TrackerFeatures(f.extractor, color="grey"), "Unknown color 'grey'"),
    ],
)
def test_a_wrong_call_of_a_tracker_is_one_line(extractor: Extractor, call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(TrackerFeatures(extractor))  # type: ignore[operator]
    assert "\n" not in str(caught.value)


# Display matrices of a container: a, b, c, d; and what a viewer shows.
TURNS = {
    (1, 0, 0, 1): lambda f: f,
    (0, 1, -1, 0): lambda f: np.rot90(f, -1),
    (-1, 0, 0, -1): lambda f: np.rot90(f, 2),
    (0, -1, 1, 0): lambda f: np.rot90(f, 1),
    (-1, 0, 0, 1): lambda f: f[:, ::-1],
    (1, 0, 0, -1): lambda f: f[::-1],
    (0, 1, 1, 0): lambda f: f.swapaxes(0, 1),
}


def test_frames_are_turned_as_the_display_matrix_says() -> None:
    for matrix, expected in TURNS.items():
        assert np.array_equal(upright(FRAME, matrix), expected(FRAME))
    nearly = [round(65536 * v) for v in (0.02, 0.999, -0.999, 0.02)]
    assert np.array_equal(upright(FRAME, nearly), np.rot90(FRAME, -1))


def test_a_video_filmed_on_its_side_comes_upright(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:16, :32] = (255, 0, 0)
    frame[16:, 32:] = (0, 255, 0)
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    data = (tmp_path / "v.mp4").read_bytes()
    (flat,) = video_frames(tmp_path / "v.mp4")
    place = data.index(struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), data.index(b"tkhd"))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.mp4"))
    for (a, b, c, d), expected in TURNS.items():
        turned = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        odd.write_bytes(data[:place] + turned + data[place + 36 :])
        (found,) = video_frames(odd)
        assert np.array_equal(found, expected(flat))


def test_videos_that_are_none_are_told_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "v.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"v\.mp4 cannot be decoded"):
        list(video_frames(tmp_path / "v.mp4"))
    with pytest.raises(DataError, match=r"No video at .*gone\.mp4"):
        list(video_frames(tmp_path / "gone.mp4"))
