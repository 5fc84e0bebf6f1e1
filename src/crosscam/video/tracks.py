"""The tracks of a video while they are open, and whole ones as they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from crosscam.video.choosing import Choice, Crop, judge
from crosscam.video.decoding import Frame
from crosscam.video.detections import Detections
from crosscam.video.tracking import Tracker, is_over
from crosscam.video.watch_settings import WatchSettings

TOO_SHORT = "seen in too few frames"


@dataclass
class Track:
    """One person's way through the view of a camera.

    Attributes:
        number: counted from 1 in the order of appearance.
        choice: its best crops.
        first, last: seconds.
        boxes: (frame, box, score) of every frame.
        looked: how many frames had been looked at when it was seen last.
    """

    number: int
    choice: Choice
    first: float
    last: float
    boxes: list[tuple[int, tuple[float, ...], float]] = field(default_factory=list)
    looked: int = 0

    @property
    def crops(self) -> list[Crop]:
        """The chosen crops, by time."""
        return self.choice.kept

    def fault(self, settings: WatchSettings) -> str:
        """Why the track is left out, in words; empty where it is not."""
        if len(self.boxes) < settings.min_seen:
            return TOO_SHORT
        if self.crops:
            return ""
        return max(self.choice.faults, key=self.choice.faults.__getitem__)


class OpenTracks:
    """Turns detections into tracks; the same frames and detections always give the same tracks.

    Args:
        tracker: of this video.
        settings: how crops are chosen.
    """

    def __init__(self, tracker: Tracker, settings: WatchSettings) -> None:
        self._tracker, self._settings = tracker, settings
        self._open: dict[int, Track] = {}
        self._count = self._looked = 0

    def __len__(self) -> int:
        """Open tracks."""
        return len(self._open)

    def add(self, frame: Frame, found: Detections) -> list[Track]:
        """Take a frame; the tracks that are over by then."""
        self._looked += 1
        numbers = self._tracker.update(found, frame.seconds)
        height, width = frame.pixels.shape[:2]
        judged = judge(found, height, width, self._settings.min_height)
        for i in np.flatnonzero(numbers >= 0):
            track = self._track(int(numbers[i]), frame.seconds)
            box, score = found.boxes[i], float(found.scores[i])
            track.last, track.looked = frame.seconds, self._looked
            track.boxes.append((frame.number, tuple(box.tolist()), score))
            if judged.faults[i]:
                track.choice.refuse(judged.faults[i])
            else:
                track.choice.offer(frame.pixels, frame.number, frame.seconds, box, score, float(judged.covered[i]))
        longest, now = self._settings.longest, frame.seconds
        return self._take(lambda t: is_over(now - t.last, self._looked - t.looked) or now - t.first > longest)

    def end(self) -> list[Track]:
        """The tracks that are still open, at the end of the video."""
        return self._take(bool)

    def _track(self, number: int, seconds: float) -> Track:
        """The open track of a tracker's number; a number that comes back after its track was over is a new one."""
        if number not in self._open:
            self._count += 1
            self._open[number] = Track(self._count, Choice(self._settings.crops), seconds, seconds)
        return self._open[number]

    def _take(self, over: Callable[[Track], object]) -> list[Track]:
        ended = {number: track for number, track in self._open.items() if over(track)}
        for number in ended:
            del self._open[number]
        return sorted(ended.values(), key=lambda track: track.number)
