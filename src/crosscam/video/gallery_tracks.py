"""Tracks into a gallery: whole, once, and told apart from those of other videos."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crosscam.data.labels import read_label
from crosscam.data.records import JUNK_PID, Sample
from crosscam.errors import GalleryError
from crosscam.gallery.camera_names import check_name
from crosscam.gallery.entries import NewEntry, Where
from crosscam.gallery.filling import make_thumbnail, number_cameras
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.interface import Gallery
from crosscam.inference.extractor import Extractor
from crosscam.video.choosing import Crop
from crosscam.video.decoding import Source
from crosscam.video.tracks import Track

# The document that says how far each video was watched, by its key, and how.
DOCUMENT = "watched"
# A watch may run for days: few crops at a time, since activations of the largest batch stay in the process's memory.
CROPS_AT_ONCE = 8
# Cameras that are watched at the same time are numbered, and their videos remembered, one after another.
_TURN = threading.Lock()


class GalleryTracks:
    """Writes the tracks of one video.

    A track's name is the video's key and its number, such as ``3fa94c21-0012``. All crops of a track are added in one
    call, which a crash leaves done or not done at all. The gallery also keeps how far the video was watched: what a
    person has forgotten since does not come back when the watching goes on.

    Args:
        gallery: opened for writing.
        extractor: of the gallery's network.
        source: the video.
        camera: its name, or its number as text.
        start: seconds of the Unix epoch at the first frame; None where it is not known.
        how: what decides the tracks, in words by name.
        again: forget the tracks that the gallery has of this video, and of a shorter one that lay there, by its start.
    Raises:
        GalleryError: the video was watched in another way.
        ValueError: a camera's name that cannot be kept.

    Attributes:
        note: what a user should know before the watching begins; empty where there is nothing.
    """

    def __init__(
        self,
        gallery: Gallery,
        extractor: Extractor,
        source: Source,
        camera: str,
        start: float | None,
        how: Mapping[str, Any],
        again: bool = False,
    ) -> None:
        self._gallery, self._extractor, self._source = gallery, extractor, source
        self._start = 0.0 if start is None or source.live else start
        self._how = {"camera": camera, "start": start, **how}
        label = read_label(camera) if camera.strip().lstrip("+-").isdecimal() else camera
        if isinstance(label, str):
            check_name(label)
        self._label = label
        self.crops = 0
        if again:
            self._forget((source.key, *(self._earlier() if self._how["start"] is not None else ())))
        record = self._record()
        self.note = "" if record else self._note_earlier()
        self._done: int = record.get("frame", -1)
        self.complete: bool = record.get("complete", False)
        if record and record["how"] != self._how:
            raise GalleryError(_difference(source.name, record["how"], self._how))
        if record and record.get("source") != source.name:
            # Moved since, or watched by a version that did not keep it: frames are looked up there.
            self._keep({**record, "source": source.name})

    def name_of(self, track: Track) -> str:
        """The name of a track in the gallery."""
        return f"{self._source.key}-{track.number:04d}"

    def add(
        self,
        tracks: Sequence[tuple[Track, int | None]],
        frame: int | None,
        stage: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> int:
        """Describe and add tracks that the gallery does not have.

        Args:
            tracks: each with the number of the frame at which it was over, None at the end of the video.
            frame: the last frame whose ended tracks are among these; None at the end of the video.
            stage: called with ``describe`` and ``write`` for what to time.
        Returns:
            Tracks that were there already.
        """
        with _TURN:
            return self._add(tracks, frame, stage)

    def _add(
        self,
        tracks: Sequence[tuple[Track, int | None]],
        frame: int | None,
        stage: Callable[[str], AbstractContextManager[None]],
    ) -> int:
        names = tuple(self.name_of(track) for track, _ in tracks)
        there = {e.track for e in self._gallery.entries(Where(tracks=names))} if names else set()
        new = [track for track, ended in tracks if self.name_of(track) not in there and not self._passed(ended)]
        crops = [(track, crop) for track in new for crop in track.crops]
        if crops:
            with stage("describe"):
                paths = [self._path(*crop) for crop in crops]
                descriptors = self._extractor([crop.pixels for _, crop in crops], CROPS_AT_ONCE, names=paths)
            with stage("write"):
                thumbnails = [make_thumbnail(crop.pixels) for _, crop in crops]
                entries = self._entries(crops)
                self._gallery.add(descriptors, entries, thumbnails, model=self._gallery.model.fingerprint)
            self.crops += len(crops)
        with stage("write"):
            self._remember(frame)
        return len(tracks) - len(new)

    def _passed(self, ended: int | None) -> bool:
        """Whether a track that was over at a frame was written, or left out, by an earlier call."""
        return self.complete or (ended is not None and ended <= self._done)

    def _entries(self, crops: Sequence[tuple[Track, Crop]]) -> list[NewEntry]:
        camid, name = self._camera()
        return [
            NewEntry(
                self._path(track, crop),
                camid,
                time=self._start + crop.seconds,
                track=self.name_of(track),
                camera=name,
            )
            for track, crop in crops
        ]

    def _camera(self) -> tuple[int, str | None]:
        """The camera's number in this gallery, and its name where it has one."""
        if isinstance(self._label, int):
            return self._label, None
        sample = Sample(Path(self._source.name), JUNK_PID, 0, camera=self._label)
        return number_cameras(self._gallery, [sample])[0].camid, self._label

    def _path(self, track: Track, crop: Crop) -> str:
        left, top, right, bottom = (round(n) for n in crop.box)
        box = (left, top, right - left, bottom - top)
        seen = (track.first, track.last)
        return str(Fragment(self._source.name, crop.seconds, box, crop.frame, seen, self._source.live))

    def _record(self) -> dict[str, Any]:
        if self._source.live:
            return {}
        found = self._gallery.document(DOCUMENT)
        record = found.get(self._source.key) if isinstance(found, dict) else None
        return record if isinstance(record, dict) else {}

    def _remember(self, frame: int | None) -> None:
        """Keep how far the video was watched."""
        if self._source.live or self.complete or (frame is not None and frame <= self._done):
            return
        self._done, self.complete = self._done if frame is None else frame, frame is None
        self._keep({"how": self._how, "frame": self._done, "complete": self.complete, "source": self._source.name})

    def _keep(self, record: dict[str, Any]) -> None:
        found = self._gallery.document(DOCUMENT)
        known = found if isinstance(found, dict) else {}
        self._gallery.set_document(DOCUMENT, {**known, self._source.key: record})

    def _earlier(self) -> list[str]:
        """Keys of other content that was watched at this place, for this camera and start: perhaps less of the same."""
        found = self._gallery.document(DOCUMENT)
        if self._source.live or not isinstance(found, dict):
            return []
        here = self._source.name, self._how["camera"], self._how["start"]
        return [
            key
            for key, record in found.items()
            if key != self._source.key
            and (record.get("source"), record["how"].get("camera"), record["how"].get("start")) == here
        ]

    def _note_earlier(self) -> str:
        """What to say of the tracks of other content at this place."""
        prefixes = tuple(f"{key}-" for key in self._earlier())
        names = (
            {e.track for e in self._gallery.entries() if e.track and e.track.startswith(prefixes)} if prefixes else ()
        )
        if not names:
            return ""
        known = "--again forgets both." if self._how["start"] is not None else "Forget these tracks, or give --start."
        return (
            f"{self._source.name} had other content when it was watched before, and {len(names):,} tracks of that, "
            f"such as {min(names)}, stay. If it is more of the same recording, people are there twice now. {known}"
        )

    def _forget(self, keys: Sequence[str]) -> None:
        """Forget the tracks of videos, and that they were watched."""
        if self._source.live:
            return
        prefixes = tuple(f"{key}-" for key in keys)
        names = {e.track for e in self._gallery.entries() if e.track and e.track.startswith(prefixes)}
        if names:
            self._gallery.forget(Where(tracks=tuple(sorted(names))))
        found = self._gallery.document(DOCUMENT)
        if isinstance(found, dict) and set(keys) & found.keys():
            left = {key: record for key, record in found.items() if key not in keys}
            self._gallery.set_document(DOCUMENT, left or None)


def _difference(video: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    name = next(n for n in {**before, **now} if before.get(n) != now.get(n))
    values = [_date(how.get(name)) if name == "start" else how.get(name) for how in (before, now)]
    return (
        f"{video} was watched with {name.replace('_', ' ')} {values[0]}, and now it is {values[1]}: its "
        "tracks would mix. Give the same, or --again to forget its tracks and watch it anew."
    )


def _date(seconds: float | None) -> str:
    try:
        return "not given" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def as_how(settings: Any, detector: str, tracker: str) -> dict[str, Any]:
    """What decides the tracks of a video, as a gallery keeps it (JSON)."""
    kept = dataclasses.asdict(settings)
    tiles = kept.pop("tiles")
    return {
        **kept,
        "tiles": None if tiles is None else f"{tiles[0]}x{tiles[1]}",
        "detector": detector,
        "tracker": tracker,
    }
