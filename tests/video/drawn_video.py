"""Short videos of drawn people who walk through the view, with their boxes; and a gallery that needs no network."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.data.synthetic.body import Pose, View
from crosscam.data.synthetic.camera import crease_table, draw_cameras
from crosscam.data.synthetic.identities import draw_stranger
from crosscam.data.synthetic.person import draw_person
from crosscam.data.synthetic.scene import draw_scene
from crosscam.gallery import ModelIdentity, create_gallery
from crosscam.gallery.interface import Gallery
from crosscam.models.output import Block
from crosscam.video.detections import Detections, as_detections
from crosscam.video.mot import mot_lines

WIDTH, HEIGHT, RATE = 320, 192, 10
# Pixels a frame; frames between two people.
SPEED, APART = 10, 15
LAYOUT = (Block("p1.global", 0, 48, 1, "global", (0.0, 1.0)),)
MODEL = ModelIdentity("feedbeef00000001", "mean colors")


@cache
def sprites(person: int) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]:
    """Four steps of a walking person: (128, 64, 3) color times coverage, and (128, 64, 1) coverage."""
    who = draw_stranger(random.Random(f"walker/{person}"))
    creases = crease_table(0)[:128, :64]
    view = View(center=32, ground=122, size=112, pitch=0.1, light=0.3)
    poses = [Pose(math.pi / 2, phase * math.pi / 2, 0.4, 0.3, 0.4, 0.05, 0) for phase in range(4)]
    return tuple(draw_person(who, pose, view, creases) for pose in poses)


@cache
def background() -> NDArray[np.float32]:
    """(HEIGHT, WIDTH, 3) of an empty scene."""
    scene = draw_scene(draw_cameras(2, 0)[0], 0).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(scene, dtype=np.float32)


def walk(frames: int, people: int = 3) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]]]:
    """Frames of people who walk through the view one after another, and (N, 5) boxes with the person's number."""
    drawn, truth = [], []
    for number in range(frames):
        frame, boxes = background().copy(), []
        for person in range(people):
            left = SPEED * (number - APART * person) - 40
            box = _lay(frame, sprites(person)[number % 4], left, 30 + 12 * person)
            if box is not None:
                boxes.append([*box, person])
        drawn.append(np.clip(frame, 0, 255).astype(np.uint8))
        truth.append(np.array(boxes, dtype=np.float64).reshape(-1, 5))
    return drawn, truth


def _lay(
    frame: NDArray[np.float32], sprite: tuple[NDArray[np.float32], NDArray[np.float32]], left: int, top: int
) -> tuple[int, int, int, int] | None:
    """Lay a person over the frame; the box of what is seen, None where that is hardly anything."""
    color, coverage = sprite
    x0, x1 = max(0, left), min(WIDTH, left + 64)
    y1 = min(HEIGHT, top + 128)
    if x1 - x0 < 20:
        return None
    part = np.s_[: y1 - top, x0 - left : x1 - left]
    frame[top:y1, x0:x1] = frame[top:y1, x0:x1] * (1 - coverage[part]) + color[part]
    seen = coverage[part][:, :, 0] > 0.5
    if seen.sum() < 300:
        return None
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return x0 + int(columns[0]), top + int(rows[0]), x0 + int(columns[-1]) + 1, top + int(rows[-1]) + 1


def write_video(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    stamps: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    codec: str = "mpeg4",
) -> Path:
    """Write frames; ``stamps`` are their times in milliseconds."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_det(path: Path, truth: Sequence[NDArray[np.float64]]) -> Path:
    """The boxes as a MOT det.txt."""
    boxes = [(number, tuple(box[:4]), 1.0) for number, found in enumerate(truth) for box in found]
    path.write_text(mot_lines(-1, boxes))
    return path


class Boxes:
    """A detector that knows the truth by frame."""

    def __init__(self, truth: Sequence[NDArray[np.float64]]) -> None:
        self.truth = truth

    def __call__(self, frame: NDArray[np.uint8]) -> Detections:
        raise AssertionError("it is asked by number")

    def of_frame(self, number: int) -> Detections:
        """The people in a frame."""
        return as_detections(self.truth[number][:, :4])


class MeanColors:
    """Describes images by 4 x 4 mean colors."""

    def __call__(
        self, images: Sequence[NDArray[np.uint8]], batch_size: int = 32, *, names: object = None
    ) -> NDArray[np.float32]:
        """(N, 48) rows of length 1."""
        assert batch_size <= 8, "the activations of a large batch stay in the memory of a long watch"
        small = [np.asarray(Image.fromarray(p).resize((4, 4), Image.Resampling.BOX), np.float32) for p in images]
        rows = np.stack(small).reshape(len(small), -1) + 1
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def new_gallery(folder: Path) -> Gallery:
    """An empty gallery for :class:`MeanColors`."""
    return create_gallery(folder, LAYOUT, MODEL)
