"""Frames and clips of the videos that a gallery's tracks are from, while the videos are still there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from crosscam.errors import DataError, ImageError, WebError
from crosscam.gallery import Entry, Gallery
from crosscam.gallery.fragments import Fragment
from crosscam.video.footage import clip_of, frame_of, video_of, with_box
from crosscam.web.audit import AuditLog


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

    def of(self, entries: Iterable[Entry]) -> dict[int, Path]:
        """Where the videos of some entries are; without those whose video is gone."""
        found = {entry.id: video_of(self._gallery, entry) for entry in entries}
        return {number: path for number, path in found.items() if path is not None}

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
        return self._cut(entry, who, "clip", clip_of)

    def _cut(self, entry: Entry, who: str, what: str, cut: Callable[[Path, Fragment], bytes]) -> bytes | None:
        place, path = Fragment.read(entry.path), video_of(self._gallery, entry)
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
