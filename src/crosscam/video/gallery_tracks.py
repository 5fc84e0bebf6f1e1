"""Tracks into a gallery: whole, once, and told apart from those of other videos."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.data.records import JUNK_PID, Sample
from crosscam.errors import GalleryBusyError
from crosscam.gallery.camera_names import check_label
from crosscam.gallery.entries import NewEntry, Where
from crosscam.gallery.filling import make_thumbnail
from crosscam.gallery.fragments import Fragment
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import opened_for_writing
from crosscam.gallery.numbering import number_cameras
from crosscam.inference.extractor import Extractor
from crosscam.video.choosing import Crop
from crosscam.video.decoding import Source
from crosscam.video.tracks import Track
from crosscam.video.watch_record import WatchRecord

# A watch may run for days: few crops at a time, since activations of the largest batch stay in the process's memory.
CROPS_AT_ONCE = 8
# Cameras that are watched at the same time are numbered, and their videos remembered, one after another.
_TURN = threading.Lock()


class GalleryTracks:
    """Writes the tracks of one video; hold :func:`crosscam.video.watch_record.watching_alone` meanwhile.

    A track's name is the video's key and its number, such as ``3fa94c21-0012``. All crops of a track are added in one
    call, which a crash leaves done or not done at all. The gallery also keeps how far the video was watched: what a
    person has forgotten since does not come back when the watching goes on.

    Args:
        gallery: opened for reading, so that other programs can write it between two writes of this one; or for writing.
        extractor: of the gallery's network.
        source: the video.
        camera: its name, or its number as text.
        start: seconds of the Unix epoch at the first frame; None where it is not known.
        how: what decides the tracks, in words by name.
        again: forget the tracks that the gallery has of this video, and of a shorter one that lay there, by its start.
    Raises:
        GalleryError: the video was watched in another way.
        GalleryBusyError: another program is writing the gallery.
        ValueError: a camera's name that cannot be kept.

    Attributes:
        record: how far the video was watched.
        crops: that were added.
        waiting: who writes the gallery, in one sentence, so that described tracks wait; empty where none waits.
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
        self.record = WatchRecord(gallery, source, {"camera": camera, "start": start, **how})
        self._label = check_label(camera)
        self.crops = 0
        self.waiting = ""
        self._described: list[_Described] = []
        # Refuses here, and not after hours, a gallery that cannot be written.
        with _TURN, opened_for_writing(gallery) as writer:
            self.record.begin(writer, again)

    def name_of(self, track: Track) -> str:
        """The name of a track in the gallery."""
        return f"{self._source.key}-{track.number:04d}"

    def add(
        self,
        tracks: Sequence[tuple[Track, int | None]],
        frame: int | None,
        stage: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> int:
        """Describe tracks that the gallery does not have, and add them; see :attr:`waiting`.

        Args:
            tracks: each with the number of the frame at which it was over, None at the end of the video.
            frame: the last frame whose ended tracks are among these; None at the end of the video.
            stage: called with ``describe`` and ``write`` for what to time.
        Returns:
            Tracks that were there already.
        """
        names = tuple(self.name_of(track) for track, _ in tracks)
        with _TURN:
            there = {e.track for e in self._gallery.entries(Where(tracks=names))} if names else set()
            new = [
                track
                for track, ended in tracks
                if self.name_of(track) not in there and not self.record.has_passed(ended)
            ]
            crops = [(track, crop) for track in new for crop in track.crops]
            if crops:
                with stage("describe"):
                    self._describe(crops)
            with stage("write"):
                self.write(frame)
        return len(tracks) - len(new)

    def _describe(self, crops: Sequence[tuple[Track, Crop]]) -> None:
        pixels = [crop.pixels for _, crop in crops]
        paths = [self._path(track, crop) for track, crop in crops]
        rows = self._extractor(pixels, CROPS_AT_ONCE, names=paths)
        for (track, crop), path, row in zip(crops, paths, rows, strict=True):
            time = self._start + crop.seconds
            entry = NewEntry(path, 0, time=time, track=self.name_of(track))
            self._described.append(_Described(entry, row, make_thumbnail(crop.pixels)))

    def write(self, frame: int | None) -> None:
        """Add what was described, unless another program writes the gallery; see :attr:`waiting`.

        Args:
            frame: as for :meth:`add`.
        """
        self.waiting = ""
        if not self._described and not self.record.is_news(frame):
            return
        try:
            with opened_for_writing(self._gallery, patience=0.0) as writer:
                self._add(writer)
                self.record.remember(writer, frame)
        except GalleryBusyError as busy:
            self.waiting = str(busy)

    def _add(self, writer: Gallery) -> None:
        if not self._described:
            return
        camid, name = self._camera(writer)
        entries = [dataclasses.replace(d.entry, camid=camid, camera=name) for d in self._described]
        rows = np.stack([d.row for d in self._described])
        writer.add(rows, entries, [d.thumbnail for d in self._described], model=writer.model.fingerprint)
        self.crops += len(entries)
        self._described.clear()

    def _camera(self, writer: Gallery) -> tuple[int, str | None]:
        """The camera's number in this gallery, and its name where it has one."""
        if isinstance(self._label, int):
            return self._label, None
        sample = Sample(Path(self._source.name), JUNK_PID, 0, camera=self._label)
        return number_cameras(writer, [sample])[0].camid, self._label

    def _path(self, track: Track, crop: Crop) -> str:
        left, top, right, bottom = (round(n) for n in crop.box)
        box = (left, top, right - left, bottom - top)
        seen = (track.first, track.last)
        return str(Fragment(self._source.name, crop.seconds, box, crop.frame, seen, self._source.live))


@dataclasses.dataclass(frozen=True, eq=False)
class _Described:
    """A crop that is ready for the gallery; its camera gets its number when it is added."""

    entry: NewEntry
    row: NDArray[np.float32]
    thumbnail: bytes
