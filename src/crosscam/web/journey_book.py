"""What the pages show of journeys and of watched videos, and what users decide there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from crosscam.errors import DataError, ImageError, WebError
from crosscam.gallery import Entry, Gallery, Journeys, read_journeys
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.link_runs import decide
from crosscam.gallery.people import Decision, People
from crosscam.system.text import counted
from crosscam.video.footage import clip_of, frame_of, videos_of, with_box
from crosscam.web.audit import AuditLog

# Bytes of the clips that were shown last.
KEPT_CLIPS = 32_000_000
Said = Literal["confirm", "split", "merge", "apart", "undo"]


class JourneyBook:
    """The journeys of a gallery.

    Args:
        gallery: opened for reading.
        writing: opens it for writing for a moment.
        audit: where decisions are noted.
    """

    def __init__(
        self, gallery: Gallery, writing: Callable[[], AbstractContextManager[Gallery]], audit: AuditLog
    ) -> None:
        self._gallery, self._writing, self._audit = gallery, writing, audit

    def read(self) -> Journeys:
        """People and proposals as they are now."""
        return read_journeys(self._gallery)

    def decide(self, said: Said, people: tuple[int, ...], tracks: tuple[int, ...], who: str) -> None:
        """Keep what a user decided.

        Args:
            said: what.
            people: one person to confirm, two to merge or keep apart.
            tracks: to split off, by their first entries.
            who: decides.
        Raises:
            WebError: too few people or tracks.
            ValueError: people or tracks that are not there.
        """
        needed = {"confirm": 1, "merge": 2, "apart": 2}.get(said, 0)
        if len(people) < needed:
            raise WebError("Say which other person it is, by number.")
        if said == "split" and not tracks:
            raise WebError("No track is ticked. Tick the tracks that are another person.")
        self._audit.write(who, "journeys", said=said, people=list(people[:needed]), tracks=list(tracks))

        def change(kept: People, who: str, moment: str) -> People:
            if said == "split":
                return kept.split(tracks, who, moment)
            if said == "undo":
                return kept.undo()
            if said == "confirm":
                return kept.confirm(people[0], who, moment)
            return (kept.merge if said == "merge" else kept.apart)(people[0], people[1], who, moment)

        with self._writing() as gallery:
            decide(gallery, change, who)


def in_words(decision: Decision) -> str:
    """What was decided, as one clause."""
    tracks = counted(len(decision.tracks), "track")
    said = {
        "confirm": f"person {decision.source} was confirmed",
        "split": f"{tracks} of person {decision.source} became person {decision.target}",
        "merge": f"person {decision.source} became part of person {decision.target}",
        "apart": f"people {decision.source} and {decision.target} were kept apart",
    }
    moment = decision.when[:16].replace("T", " ")
    return f"{said[decision.kind]}, by {decision.who}, {moment} UTC"


class WatchedVideos:
    """The videos of a gallery.

    Args:
        gallery: opened for reading.
        audit: where it is noted who looked at what.
    """

    def __init__(self, gallery: Gallery, audit: AuditLog) -> None:
        self._gallery, self._audit = gallery, audit
        # Decoding uses all cores: one video after another.
        self._turn = threading.Lock()
        self._clips: dict[tuple[Path, Fragment], bytes] = {}

    def of(self, entries: Iterable[Entry]) -> dict[int, Path]:
        """Where the videos of some entries are; without those whose video is gone."""
        return videos_of(self._gallery, entries)

    def frame(self, entry: Entry, who: str) -> bytes | None:
        """The whole frame of an entry with its box, as JPEG; None where the video is gone.

        Raises:
            WebError: the video cannot be read.
        """
        return self._cut(entry, who, "frame", lambda path, place: with_box(frame_of(path, place), place))

    def clip(self, entry: Entry, who: str) -> bytes | None:
        """A short MP4 of the track of an entry; None where the video is gone.

        Raises:
            WebError: no clip can be cut from this video.
        """
        return self._cut(entry, who, "clip", self._clip_of)

    def _clip_of(self, path: Path, place: Fragment) -> bytes:
        """The same bytes for each part that a player asks for; the last few clips are kept."""
        key = path, place
        found = self._clips.pop(key, None) or clip_of(path, place)
        self._clips[key] = found
        while len(self._clips) > 1 and sum(map(len, self._clips.values())) > KEPT_CLIPS:
            self._clips.pop(next(iter(self._clips)))
        return found

    def _cut(self, entry: Entry, who: str, what: str, cut: Callable[[Path, Fragment], bytes]) -> bytes | None:
        place, path = Fragment.read(entry.path), self.of([entry]).get(entry.id)
        if place is None or path is None:
            return None
        self._audit.write(who, what, entry=entry.id)
        try:
            with self._turn:
                return cut(path, place)
        except (DataError, ImageError, OSError) as error:
            # Folders are not told.
            told = str(error).replace(str(path), path.name)
            raise WebError(f"The {what} of entry {entry.id} cannot be shown: {told}") from error
