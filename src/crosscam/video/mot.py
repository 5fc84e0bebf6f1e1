"""MOT Challenge text: detections to read, tracks and journeys to write.

A line is ``frame,id,left,top,width,height,confidence,...``.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from crosscam.errors import ArgumentError, DataError
from crosscam.gallery.entries import Where
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.interface import Gallery
from crosscam.gallery.journeys import Journeys
from crosscam.system.files import check_folder, write_atomically
from crosscam.video.detections import NOTHING, Detections, Pixels, as_detections


class MotDetections:
    """The detections of a ``det.txt``, by frame.

    Args:
        path: the file; its frames count from 1.
    Raises:
        DataError: no such file, or a line of another form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames = read_mot(path)
        self._next = 0

    def __repr__(self) -> str:
        return f"MotDetections({str(self.path)!r}, {len(self._frames)} frames)"

    def __call__(self, _: Pixels) -> Detections:
        """People in the next frame, for callers that show each frame once and in order."""
        self._next += 1
        return self.of_frame(self._next - 1)

    def of_frame(self, number: int) -> Detections:
        """People in a frame by number, counted from 0."""
        return self._frames.get(number + 1, NOTHING)

    def beyond(self, number: int) -> int:
        """Frames with people behind the one with a number, counted from 0."""
        return sum(frame > number + 1 for frame in self._frames)


def read_mot(path: Path) -> dict[int, Detections]:
    """Detections by frame, counted from 1.

    Confidences of MOT's public detectors need not lie in [0, 1]: larger ones count as 1, and the -1 that means "none"
    counts as 1 too.

    Raises:
        DataError: no such file, a line that is not at least six numbers, the first a frame from 1 on, or shares of
            the frame in place of pixels.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a MOT det.txt ({error}).") from error
    rows: dict[int, list[tuple[float, ...]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            frame, _, left, top, width, height, *more = (float(n) for n in line.split(","))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: {line!r:.60} is not a line of a MOT det.txt. Expected "
                "frame,-1,left,top,width,height,confidence."
            ) from error
        if not (math.isfinite(frame) and frame >= 1 and frame == int(frame)):
            raise DataError(f"{path}, line {number}: frame {frame:g}. Frames of a MOT det.txt count from 1.")
        if not (math.isfinite(left + top) and 0 <= width < math.inf and 0 <= height < math.inf):
            raise DataError(
                f"{path}, line {number}: a box of {width:g} x {height:g} at {left:g}, {top:g}. Expected left, top, "
                "width, height in pixels."
            )
        score = more[0] if more and more[0] >= 0 else 1.0
        rows.setdefault(int(frame), []).append((left, top, left + width, top + height, min(score, 1.0)))
    try:
        return {frame: as_detections(np.array(found)) for frame, found in rows.items()}
    except ArgumentError as error:
        raise DataError(f"{path}: {error}") from error


def mot_lines(track: int, boxes: Iterable[tuple[int, Sequence[float], float]]) -> str:
    """The lines of a track.

    Args:
        track: its number.
        boxes: frame, counted from 0; left, top, right, bottom; score.
    """
    return "".join(
        f"{frame + 1},{track},{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f},{score:.4f},-1,-1,-1\n"
        for frame, (x0, y0, x1, y1), score in boxes
    )


# The camera's name, the video, and the key in the names of its tracks.
_Place = tuple[str, str, str]
_Box = tuple[int, tuple[float, float, float, float], float]


@dataclass(frozen=True)
class MotTexts:
    """What is written.

    Attributes:
        texts: by file name.
        boxes: lines of all of them.
        without_box: images of the journeys that are not from a video, so that they have no box.
    """

    texts: dict[str, str]
    boxes: int
    without_box: int


def mot_texts(gallery: Gallery, found: Journeys) -> MotTexts:
    """The boxes of all crops, by camera, frame and person; frames count from 1.

    A camera that filmed several videos has a text for each, since each counts its own frames.
    """
    person_of = {entry: p.number for p in found.people for track in p.tracks for entry in track.entries}
    boxes: dict[_Place, list[tuple[int, _Box]]] = defaultdict(list)
    without = 0
    entries = gallery.entries(Where(ids=tuple(person_of))) if person_of else ()
    for entry in entries:
        fragment = Fragment.read(entry.path)
        if fragment is None or fragment.frame < 0:
            without += 1
            continue
        left, top, width, height = fragment.box
        box = (fragment.frame, (left, top, left + width, top + height), 1.0)
        key = (entry.track or "").rpartition("-")[0]
        boxes[entry.camera_label, fragment.video, key].append((person_of[entry.id], box))
    texts = {}
    for name, place in _names(sorted(boxes)):
        rows = sorted(boxes[place], key=lambda row: (row[1][0], row[0]))
        texts[name] = "".join(mot_lines(person, [box]) for person, box in rows)
    return MotTexts(texts, len(person_of) - without, without)


def write_mot(folder: Path, gallery: Gallery, found: Journeys) -> MotTexts:
    """Write a text for each camera, such as ``hall.txt``.

    Raises:
        StorageError: the folder or a file cannot be written.
    """
    check_folder(folder)
    made = mot_texts(gallery, found)
    for name, text in made.texts.items():
        write_atomically(folder / name, text)
    return made


def _names(places: list[_Place]) -> list[tuple[str, _Place]]:
    """A file name for each place: the camera's, and the video's where the camera has several."""
    cameras = [camera for camera, _, _ in places]
    names: list[tuple[str, _Place]] = []
    taken: set[str] = set()
    for place in places:
        camera, video, key = place
        stem = camera if cameras.count(camera) == 1 else f"{camera} {PurePosixPath(video).stem}"
        stem = re.sub(r"[^\w .+-]", "_", stem).strip(". ")[:120] or "camera"
        if stem.casefold() in taken:
            stem = f"{stem} {key}"
        number, unique = 1, stem
        while unique.casefold() in taken:
            number, unique = number + 1, f"{stem} {number + 1}"
        taken.add(unique.casefold())
        names.append((f"{unique}.txt", place))
    return names
