"""Boxes of successive frames to tracks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, EngineError
from crosscam.system import needed
from crosscam.video.detections import Detections, Floats, overlaps

# Detections of at least this score begin tracks; those of at least LOW continue them.
HIGH, LOW = 0.4, 0.1
# A track that is not found again for this many seconds, and in this many frames, is over.
LOST_AFTER, LOST_FRAMES = 1.5, 2
# A speed is the mean of about so many seconds, and lasts this long while a track is not seen.
SPEED_OVER, SPEED_LASTS = 0.5, 1.0
# The overlap of a track's first box with what a filter makes of it.
SAME_BOX = 0.9
# Frames that tell the true rate, and the factor from which the one that was given is wrong.
MEASURED, WRONG = 10, 1.5


class Tracker(Protocol):
    """Numbers the boxes of one video, frame by frame."""

    def update(self, found: Detections, seconds: float) -> NDArray[np.int64]:
        """The track of each box.

        Args:
            found: N people in the frame.
            seconds: the frame's time; it never goes back.
        Returns:
            (N,) numbers of tracks, -1 for boxes that belong to none yet.
        """


def is_over(seconds: float, frames: int) -> bool:
    """Whether a track is over that was seen last so many seconds and frames ago."""
    return seconds > LOST_AFTER and frames > LOST_FRAMES


@dataclass
class _Track:
    number: int
    box: Floats
    seconds: float
    frame: int
    speed: Floats = field(default_factory=lambda: np.zeros(4))
    hits: int = 1

    def at(self, seconds: float) -> Floats:
        """Where the box should be at a time; a track that is not seen stops after a while."""
        return self.box + self.speed * min(seconds - self.seconds, SPEED_LASTS)

    def moved(self, box: Floats, seconds: float, frame: int) -> None:
        """Take a new place, and learn the speed."""
        gap = seconds - self.seconds
        if gap > 0:
            # The same at any frame rate; at first it counts as one box among them that people stand.
            weight = max(min(0.5, 1 / self.hits), 1 - math.exp(-gap / SPEED_OVER))
            self.speed = (1 - weight) * self.speed + weight * (box - self.box) / gap
        self.box, self.seconds, self.frame, self.hits = box, seconds, frame, self.hits + 1


class PlainTracker:
    """Two-stage matching of boxes as in ByteTrack (Zhang et al., ECCV 2022), with a speed in place of a Kalman filter.

    Likely boxes are matched with all tracks, by the overlap with the place where the track should be; then unlikely
    boxes with the tracks that are left. Boxes are widened for what is left after that, for fast people and low rates.
    """

    # Least overlap of likely boxes, of unlikely ones, and of widened ones.
    STAGES = (0.25, 0.4, 0.2)
    WIDENED = 0.4

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._last = self._frame = 0

    def update(self, found: Detections, seconds: float) -> NDArray[np.int64]:
        """See :class:`Tracker`."""
        self._frame += 1
        self._tracks = [t for t in self._tracks if not is_over(seconds - t.seconds, self._frame - t.frame)]
        numbers = np.full(len(found), -1, np.int64)
        likely = found.scores >= HIGH
        unlikely = ~likely & (found.scores >= LOW)
        free = list(self._tracks)
        for boxes, least, widened in (
            (likely, self.STAGES[0], 0.0),
            (unlikely, self.STAGES[1], 0.0),
            (likely, self.STAGES[2], self.WIDENED),
        ):
            left = np.flatnonzero(boxes & (numbers < 0))
            for track, i in _matches(free, found.boxes[left], seconds, least, widened):
                track.moved(found.boxes[left[i]], seconds, self._frame)
                numbers[left[i]] = track.number
            free = [t for t in free if t.number not in numbers]
        for i in np.flatnonzero(likely & (numbers < 0)).tolist():
            self._last += 1
            self._tracks.append(_Track(self._last, found.boxes[i], seconds, self._frame))
            numbers[i] = self._last
        return numbers


def _matches(
    tracks: list[_Track], boxes: Floats, seconds: float, least: float, widened: float
) -> list[tuple[_Track, int]]:
    """Pairs of tracks and boxes that give the largest sum of overlaps, each at least ``least``."""
    from scipy.optimize import linear_sum_assignment

    if not tracks or not len(boxes):
        return []
    places = np.stack([track.at(seconds) for track in tracks])
    table = overlaps(_widened(places, widened), _widened(boxes, widened))
    rows, columns = linear_sum_assignment(np.where(table >= least, table, -1.0), maximize=True)
    return [(tracks[r], int(c)) for r, c in zip(rows, columns, strict=True) if table[r, c] >= least]


def _widened(boxes: Floats, share: float) -> Floats:
    """Boxes (N, 4) that reach further on each side by a share of their own sides."""
    more = (boxes[:, 2:] - boxes[:, :2]) * share
    return np.concatenate((boxes[:, :2] - more, boxes[:, 2:] + more), axis=1)


class LibraryTracker:
    """A tracker of Roboflow's package ``trackers`` (Apache-2.0).

    Args:
        name: ``bytetrack`` or ``ocsort``.
        rate: frames a second, about. The package's filters expect about the same time between frames: after the first
            ``MEASURED`` of them, a rate that was wrong is set right, and tracks begin anew.
    Raises:
        EngineError: the package is not installed.
    """

    def __init__(self, name: str, rate: float) -> None:
        said = (
            f"--tracker {name} needs the package trackers: pip install 'crosscam[tracking]'. Or give --tracker plain."
        )
        supervision, trackers = (needed(module, said, EngineError) for module in ("supervision", "trackers"))
        self._new: Callable[..., Any] = supervision.Detections
        self._numbers: dict[int, tuple[Any, int]] = {}  # by identity, with the track, so that none is used again
        self._last = 0
        self._kind: Callable[..., Any] = trackers.ByteTrackTracker if name == "bytetrack" else trackers.OCSORTTracker
        # A tracker begins tracks with the boxes that it takes for sure; ByteTrack has a threshold of its own for that.
        self._more = {"track_activation_threshold": HIGH} if name == "bytetrack" else {}
        self._times: list[float] | None = []
        self._rate = rate
        self._tracker = self._begin()

    def _begin(self) -> Any:
        lost = max(LOST_AFTER, (LOST_FRAMES + 0.5) / self._rate)
        return self._kind(
            lost_track_buffer=round(lost * 30),  # the package counts in frames of 30 a second, and scales them
            frame_rate=self._rate,
            minimum_consecutive_frames=1,
            high_conf_det_threshold=HIGH,
            **self._more,
        )

    def _measure(self, seconds: float) -> None:
        """Look at the time between the first frames, once."""
        if self._times is None:
            return
        self._times.append(seconds)
        if len(self._times) > MEASURED:
            step, self._times = float(np.median(np.diff(self._times))), None
            if step > 0 and not 1 / WRONG < step * self._rate < WRONG:
                self._rate = 1 / step
                self._tracker = self._begin()

    def update(self, found: Detections, seconds: float) -> NDArray[np.int64]:
        """See :class:`Tracker`."""
        self._measure(seconds)
        given = self._new(
            xyxy=found.boxes.astype(np.float32).reshape(-1, 4),
            confidence=found.scores.astype(np.float32),
            class_id=np.zeros(len(found), int),
            data={"place": np.arange(len(found))},
        )
        tracked = self._tracker.update(given, timestamp=seconds)
        began = self._renumber()
        numbers = np.full(len(found), -1, np.int64)
        if tracked.tracker_id is not None and len(tracked):
            named = {int(track.tracker_id): number for track, number in self._numbers.values() if track.tracker_id >= 0}
            places = np.asarray(tracked.data["place"], dtype=int)
            numbers[places] = [named.get(int(name), -1) for name in tracked.tracker_id]
        for track, number in began:
            fits = np.where(numbers < 0, overlaps(np.asarray(track.get_state_bbox())[None], found.boxes)[0], 0.0)
            if len(fits) and fits.max() > SAME_BOX:
                numbers[int(fits.argmax())] = number
        return numbers

    def _renumber(self) -> list[tuple[Any, int]]:
        """Number the tracks that have begun: from their first box on; the package names them from the second one."""
        began, kept = [], {}
        for track in self._tracker.tracks:
            if id(track) not in self._numbers:
                self._last += 1
                began.append((track, self._last))
            kept[id(track)] = self._numbers.get(id(track), (track, self._last))
        self._numbers = kept
        return began


def tracker_name(choice: str) -> str:
    """The name of the tracker; ``auto``, as earlier versions called their choice, is ``plain``."""
    return "plain" if choice == "auto" else choice


def open_tracker(name: str, rate: float) -> Tracker:
    """The tracker of a name.

    Args:
        name: ``plain``, ``bytetrack`` or ``ocsort``; or ``auto``, see :func:`tracker_name`.
        rate: frames a second, about.
    Raises:
        ArgumentError: an unknown name.
        EngineError: the package is not installed, or scipy.
    """
    name = tracker_name(name)
    if name in ("bytetrack", "ocsort"):
        return LibraryTracker(name, rate)
    if name != "plain":
        raise ArgumentError(f"{name!r} is not a tracker. Known: auto, plain, bytetrack, ocsort.")
    needed("scipy.optimize", "Tracking needs scipy: pip install 'crosscam[video]'.", EngineError)
    return PlainTracker()
