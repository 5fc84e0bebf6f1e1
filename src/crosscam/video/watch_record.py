"""How far each video was watched into a gallery, and how; and one call at a time that watches it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from crosscam.errors import GalleryError
from crosscam.gallery.entries import Where
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import working_alone
from crosscam.system.text import counted
from crosscam.video.cameras import Zones
from crosscam.video.decoding import Source
from crosscam.video.detections import Detector
from crosscam.video.live import FrameFolder
from crosscam.video.opening import identify_detector
from crosscam.video.tracking import tracker_name
from crosscam.video.tracks import WatchSettings

# The document that says how far each video was watched, by its key, and how.
DOCUMENT = "watched"


class WatchRecord:
    """What a gallery keeps of the watching of one video; of a live source, nothing.

    Args:
        gallery: opened; a change needs the same one, opened for writing.
        source: the video.
        how: what decides the tracks, in words by name; ``camera`` and ``start`` among them.

    Attributes:
        done: number of the last frame whose ended tracks were written or left out; -1 before.
        complete: whether the video was watched to its end.
        note: what a user should know before the watching begins; empty where there is nothing.
    """

    def __init__(self, gallery: Gallery, source: Source, how: Mapping[str, Any]) -> None:
        self._gallery, self._source, self._how = gallery, source, dict(how)
        self.done, self.complete, self.note = -1, False, ""

    def begin(self, writer: Gallery, again: bool) -> None:
        """Read what an earlier call has kept.

        Args:
            writer: the gallery, opened for writing.
            again: forget the tracks that it has of this video, and of a shorter one that lay there, by its start.
        Raises:
            GalleryError: the video was watched in another way.
        """
        if again:
            self._forget(writer, (self._source.key, *(self._earlier() if self._how["start"] is not None else ())))
        record = self.check()
        self.note = "" if record else self._note_earlier()
        self.done, self.complete = record.get("frame", -1), record.get("complete", False)
        if record and record.get("source") != self._source.name:
            # Moved since, or watched by a version that did not keep it: frames are looked up there.
            self._keep(writer, {**record, "source": self._source.name})

    def check(self) -> dict[str, Any]:
        """What the gallery keeps of the video; GalleryError if it was watched in another way."""
        record = self._read()
        if record and record["how"] != self._how:
            raise GalleryError(_difference(self._source, record["how"], self._how))
        return record

    def has_passed(self, ended: int | None) -> bool:
        """Whether a track that was over at a frame was written, or left out, by an earlier call."""
        return self.complete or (ended is not None and ended <= self.done)

    def is_news(self, frame: int | None) -> bool:
        """Whether a frame, or the end (None), is further than the gallery knows."""
        return not (self._source.live or self.complete or (frame is not None and frame <= self.done))

    def remember(self, writer: Gallery, frame: int | None) -> None:
        """Keep that the video was watched up to a frame, or to its end (None)."""
        if not self.is_news(frame):
            return
        done, complete = self.done if frame is None else frame, frame is None
        self._keep(writer, {"how": self._how, "frame": done, "complete": complete, "source": self._source.name})
        self.done, self.complete = done, complete

    def _read(self) -> dict[str, Any]:
        if self._source.live:
            return {}
        found = self._gallery.document(DOCUMENT)
        record = found.get(self._source.key) if isinstance(found, dict) else None
        return record if isinstance(record, dict) else {}

    def _keep(self, writer: Gallery, record: dict[str, Any]) -> None:
        found = writer.document(DOCUMENT)
        known = found if isinstance(found, dict) else {}
        writer.set_document(DOCUMENT, {**known, self._source.key: record})

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
        names = self._tracks_of(self._earlier())
        if not names:
            return ""
        known = "--again forgets both." if self._how["start"] is not None else "Forget these tracks, or give --start."
        return (
            f"{self._source.name} had other content when it was watched before, and {counted(len(names), 'track')} of "
            f"that, such as {names[0]}, stay. If it is more of the same recording, people are there twice now. {known}"
        )

    def _tracks_of(self, keys: Sequence[str]) -> list[str]:
        """The names of the tracks of videos."""
        prefixes = tuple(f"{key}-" for key in keys)
        if not prefixes:
            return []
        return sorted({e.track for e in self._gallery.entries() if e.track and e.track.startswith(prefixes)})

    def _forget(self, writer: Gallery, keys: Sequence[str]) -> None:
        """Forget the tracks of videos, and that they were watched."""
        if self._source.live:
            return
        names = self._tracks_of(keys)
        if names:
            writer.forget(Where(tracks=tuple(names)))
        found = writer.document(DOCUMENT)
        if isinstance(found, dict) and set(keys) & found.keys():
            left = {key: record for key, record in found.items() if key not in keys}
            writer.set_document(DOCUMENT, left or None)


@contextmanager
def watching_alone(gallery: Gallery, source: Source) -> Iterator[None]:
    """Keep other calls from watching the same video or camera into the same gallery: its people would be there twice.

    Raises:
        GalleryBusyError: another call does; the message says which.
        GalleryError: nothing can be written there.
    """
    what = hashlib.sha256((source.name if source.live else source.key).encode()).hexdigest()[:16]
    with working_alone(gallery, f"watch-{what}", f"{source.name} is being watched into {gallery.place}"):
        yield


def _difference(source: Source, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    name = next(n for n in {**before, **now} if before.get(n) != now.get(n))
    if name == "start" and before.get(name) is None and isinstance(source, FrameFolder) and source.begun == now[name]:
        return (
            f"{source.name} was watched by an earlier version, which did not read the times in the names of its "
            "frames, so that its tracks have other times. --again forgets them and watches it anew."
        )
    values = [_date(how.get(name)) if name == "start" else how.get(name) for how in (before, now)]
    return (
        f"{source.name} was watched with {name.replace('_', ' ')} {values[0]}, and now it is {values[1]}: its "
        "tracks would mix. Give the same, or --again to forget its tracks and watch it anew."
    )


def _date(seconds: float | None) -> str:
    try:
        return "not given" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def start_of(source: Source, start: float | None) -> float | None:
    """Seconds of the Unix epoch at the first frame: given, or told by the names of frames; None where neither is."""
    return source.begun if start is None and isinstance(source, FrameFolder) else start


def how_of(source: Source, detector: Detector, settings: WatchSettings, zone: Zones | None) -> dict[str, Any]:
    """What decides the tracks of a video beside its camera and start, as a gallery keeps it (JSON)."""
    kept = dataclasses.asdict(settings)
    tiles = kept.pop("tiles")
    how = {
        **kept,
        "tiles": None if tiles is None else f"{tiles[0]}x{tiles[1]}",
        "detector": identify_detector(detector),
        "tracker": tracker_name(settings.tracker),
    }
    how |= {} if zone is None else {"zones": str(zone)}
    if isinstance(source, FrameFolder) and source.given is not None:
        how |= {"frame-rate": source.given}
    return how


def check_same_way(gallery: Gallery, source: Source, camera: str, start: float | None, how: Mapping[str, Any]) -> None:
    """Refuse (GalleryError) a video that was watched in another way, before the first of several is watched."""
    WatchRecord(gallery, source, {"camera": camera, "start": start_of(source, start), **how}).check()
