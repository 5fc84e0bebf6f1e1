"""Journeys as MOT Challenge text: for each camera the boxes that the gallery holds, with the person's number as id."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from crosscam.gallery.entries import Where
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.interface import Gallery
from crosscam.gallery.journey_records import Journeys
from crosscam.system.files import check_folder, write_atomically, write_text
from crosscam.video.mot import mot_lines

# The camera's name, the video, and the key in the names of its tracks.
_Place = tuple[str, str, str]
_Box = tuple[int, tuple[float, float, float, float], float]


@dataclass(frozen=True)
class MotTexts:
    """What is written.

    Attributes:
        texts: by file name.
        boxes: lines of all of them.
        without_box: pictures of the journeys that are not from a video, so that they have no box.
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
        write_atomically(folder / name, partial(write_text, text=text))
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
