"""What journeys are worth against the truth: a table of who the tracks are, or videos with true boxes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from crosscam.data.labels import same_spelling
from crosscam.data.text_files import read_rows
from crosscam.errors import ArgumentError, DataError
from crosscam.gallery.fragments import Box, Fragment
from crosscam.gallery.interface import Gallery
from crosscam.gallery.journeys import Journeys, TrackSeen
from crosscam.metrics.identity import IdentityScores, identity_scores
from crosscam.video.cameras import read_cameras
from crosscam.video.detections import Floats, overlaps

TABLE = "Expected a CSV table with the columns camera, track and person, and perhaps boxes"
VIDEOS = "Expected a folder as 'crosscam data render --video' writes it: cameras.toml, and CAMERA/gt/gt.txt"
COLUMNS = ("camera", "track", "person", "boxes")
LEAST_OVERLAP = 0.5
NOBODY = -1


@dataclass(frozen=True)
class JourneyScores(IdentityScores):
    """Identity scores, and where journeys and truth are not about the same tracks.

    Attributes:
        strange: tracks of the journeys that the truth does not know; each counts as somebody who is not there.
        absent: tracks with a person, of videos each person at a camera, that no journey has; their boxes count as
            missed, and their links for nothing.
    """

    strange: int = 0
    absent: int = 0


def check_truth(truth: Path) -> str:
    """Refuse a truth that cannot be read, before tracks are linked.

    Returns:
        Which columns of a table do not count, as a sentence; empty where all do.
    Raises:
        DataError: another form.
    """
    if truth.is_dir():
        read_videos(truth)
        return ""
    read_table(truth)
    columns = next(iter(read_rows(truth, f"{TABLE}.")), {}).keys()
    unused = ", ".join(name or "(no name)" for name in columns if name not in COLUMNS)
    one_box = "" if "boxes" in columns else " There is no column boxes: each track counts as one box."
    return f"{truth}: columns not used: {unused}.{one_box}" if unused else ""


def score_journeys(gallery: Gallery, found: Journeys, truth: Path) -> JourneyScores:
    """Compare journeys with the truth, over all cameras, weighted by boxes.

    Args:
        gallery: whose journeys they are.
        found: the journeys.
        truth: a CSV table with the columns camera, track, person (empty for nobody) and perhaps boxes; or a folder of
            drawn videos, for a gallery that 'crosscam watch' filled: a track is whom most of its images show, and has
            the true boxes of that person while it lasts.
    Raises:
        DataError: a truth of another form, or of other tracks.
        CrosscamError: scipy is missing.
    """
    tracks = [(person.number, track) for person in found.people for track in person.tracks]
    if not tracks:
        raise DataError("The gallery has no journeys to compare with the truth. Make them with 'crosscam link'.")
    seen = [track for _, track in tracks]
    known = _from_videos(gallery, seen, truth) if truth.is_dir() else _from_table(seen, truth)
    scores = identity_scores(known.who, [number for number, _ in tracks], known.boxes, missed=known.missed)
    return JourneyScores(**asdict(scores) | {"people": known.people}, strange=known.strange, absent=known.absent)


@dataclass(frozen=True)
class Known:
    """True person and number of boxes of each track; true boxes that are in no track, and people with a box.

    ``strange`` and ``absent`` are those of :class:`JourneyScores`.
    """

    who: list[int]
    boxes: list[int]
    missed: int
    people: int
    strange: int
    absent: int


def _from_table(tracks: list[TrackSeen], file: Path) -> Known:
    who, boxes = read_table(file)
    keys = [(track.camera, track.track or str(track.name)) for track in tracks]
    if not set(keys) & who.keys():
        raise DataError(f"{file} names no track of this gallery. Expected camera and track as the gallery has them.")
    numbers = {name: number for number, name in enumerate(sorted(set(who.values()) - {""}))}
    absent = [key for key in who.keys() - set(keys) if who[key]]
    return Known(
        [numbers.get(who.get(key, ""), NOBODY) for key in keys],
        [boxes.get(key, 1) for key in keys],
        missed=sum(boxes[key] for key in absent),
        people=len(numbers),
        strange=sum(key not in who for key in keys),
        absent=len(absent),
    )


def read_table(file: Path) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], int]]:
    """Person and number of boxes of each (camera, track); an empty person is nobody.

    Raises:
        DataError: it cannot be read.
    """
    who: dict[tuple[str, str], str] = {}
    boxes: dict[tuple[str, str], int] = {}
    for number, row in enumerate(read_rows(file, f"{TABLE}."), 2):
        try:
            key = same_spelling(row["camera"]), row["track"].strip()
            if key in who:
                raise ArgumentError("a track that another line has")
            who[key], boxes[key] = same_spelling(row["person"]), int(row.get("boxes") or 1)
            if boxes[key] < 0:
                raise ArgumentError("a negative number of boxes")
        except KeyError as error:
            raise DataError(f"{file} has no column {error.args[0]}. {TABLE}.") from error
        except ValueError as error:
            raise DataError(f"{file}, line {number}: {TABLE}; found {error}.") from error
    return who, boxes


@dataclass(frozen=True)
class TrueCamera:
    """True boxes of a camera: frame (from 0) to person to box."""

    rate: float
    boxes: Mapping[int, Mapping[int, Box]]


def _from_videos(gallery: Gallery, tracks: list[TrackSeen], folder: Path) -> Known:
    cameras = read_videos(folder)
    who, boxes = [], []
    covered: set[tuple[str, int, int]] = set()
    for track in tracks:
        person, mine = _person_of(gallery, track, cameras.get(track.camera))
        who.append(person)
        boxes.append(len(mine) if person != NOBODY else len(track.entries))
        covered |= {(track.camera, person, frame) for frame in mine}
    if all(person == NOBODY for person in who):
        raise DataError(f"{folder} has no boxes where the tracks of this gallery are. {VIDEOS}.")
    true = {(name, pid, frame) for name, each in cameras.items() for frame, some in each.boxes.items() for pid in some}
    walks = {(name, pid) for name, pid, _ in true}
    return Known(
        who,
        boxes,
        missed=len(true - covered),
        people=len({pid for _, pid in walks}),
        strange=sum(track.camera not in cameras for track in tracks),
        absent=len(walks - {(name, pid) for name, pid, _ in covered}),
    )


def _person_of(gallery: Gallery, track: TrackSeen, camera: TrueCamera | None) -> tuple[int, set[int]]:
    """Whom most images of a track show, and the frames in which that person is there while the track lasts."""
    said: Counter[int] = Counter()
    frames: list[int] = []
    entries = gallery.get(track.entries) if camera else []
    for fragment in filter(None, (Fragment.read(entry.path) for entry in entries)):
        if camera is None or fragment.frame < 0:
            continue
        frames += [round(fragment.frame + (t - fragment.seconds) * camera.rate) for t in fragment.seen]
        there = camera.boxes.get(fragment.frame, {})
        shares = overlaps(_corners([fragment.box]), _corners(list(there.values())))[0]
        nearest = int(shares.argmax()) if len(shares) else 0
        said[list(there)[nearest] if len(shares) and shares[nearest] >= LEAST_OVERLAP else NOBODY] += 1
    if camera is None or not said:
        return NOBODY, set()
    person = max(said, key=lambda pid: (said[pid], -pid))
    lasting = range(min(frames), max(frames) + 1)
    return person, {frame for frame in lasting if person in camera.boxes.get(frame, {})}


def _corners(boxes: Sequence[Box]) -> Floats:
    """(N, 4) left, top, right, bottom of boxes of left, top, width, height."""
    found = np.array(boxes, float).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found


def read_videos(folder: Path) -> dict[str, TrueCamera]:
    """True boxes by camera.

    Raises:
        DataError: a file is missing or of another form.
    """
    found = {}
    for camera in read_cameras(folder / "cameras.toml"):
        file = folder / camera.name / "gt" / "gt.txt"
        if camera.frame_rate is None:
            raise DataError(f"{folder / 'cameras.toml'} does not tell the frame_rate of {camera.name}. {VIDEOS}.")
        boxes: dict[int, dict[int, Box]] = defaultdict(dict)
        try:
            for line in file.read_text(encoding="utf-8").splitlines():
                frame, pid, left, top, width, height = (int(float(cell)) for cell in line.split(",")[:6])
                boxes[frame - 1][pid] = left, top, width, height
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{file} cannot be read ({reason}). {VIDEOS}.") from error
        found[camera.name] = TrueCamera(camera.frame_rate, boxes)
    return found
