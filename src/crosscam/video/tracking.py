"""Boxes of successive frames to tracks."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, EngineError
from crosscam.video.detections import Detections, Floats, overlaps

# Detections of at least this score begin tracks; those of at least LOW continue them.
HIGH, LOW = 0.4, 0.1
# A track that is not found again for this many seconds, and in this many frames, is over.
LOST_AFTER, LOST_FRAMES = 1.5, 2
# The overlap of a track's first box with what a filter makes of it.
SAME_BOX = 0.9


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
        """Where the box should be at a time; the speed fades while the track is not seen."""
        gap = seconds - self.seconds
        return self.box + self.speed * min(gap, 0.5)

    def moved(self, box: Floats, seconds: float, frame: int) -> None:
        """Take a new place, and learn the speed."""
        gap = seconds - self.seconds
        if gap > 0:
            weight = 0.5 if self.hits == 1 else 0.25
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
        rate: frames a second, about.
    Raises:
        EngineError: the package is not installed.
    """

    def __init__(self, name: str, rate: float) -> None:
        try:
            supervision, trackers = (importlib.import_module(name) for name in ("supervision", "trackers"))
        except ImportError as error:
            raise EngineError(
                f"--tracker {name} needs the package trackers: pip install 'crosscam[tracking]'. Or give --tracker "
                "plain."
            ) from error
        self._new: Callable[..., Any] = supervision.Detections
        self._numbers: dict[int, tuple[Any, int]] = {}  # by identity, with the track, so that none is used again
        self._last = 0
        buffer = round(LOST_AFTER * 30)  # the package counts in frames of 30 a second, and scales them
        if name == "bytetrack":
            self._tracker: Any = trackers.ByteTrackTracker(
                lost_track_buffer=buffer,
                frame_rate=rate,
                track_activation_threshold=HIGH,
                high_conf_det_threshold=HIGH,
                minimum_consecutive_frames=1,
            )
        else:
            self._tracker = trackers.OCSORTTracker(
                lost_track_buffer=buffer,
                frame_rate=rate,
                minimum_consecutive_frames=1,
                high_conf_det_threshold=HIGH,
            )

    def update(self, found: Detections, seconds: float) -> NDArray[np.int64]:
        """See :class:`Tracker`."""
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
        """Number the tracks that have begun; the package names a track from its second box on, and we from its first."""
        began, kept = [], {}
        for track in self._tracker.tracks:
            if id(track) not in self._numbers:
                self._last += 1
                began.append((track, self._last))
            kept[id(track)] = self._numbers.get(id(track), (track, self._last))
        self._numbers = kept
        return began


def open_tracker(name: str, rate: float) -> tuple[Tracker, str]:
    """The tracker and its name.

    Args:
        name: ``auto`` takes ByteTrack of the package ``trackers`` where it is installed, and else ``plain``.
        rate: frames a second, about.
    Raises:
        ArgumentError: an unknown name.
        EngineError: the package is not installed, or scipy.
    """
    if name == "auto":
        try:
            return LibraryTracker("bytetrack", rate), "bytetrack"
        except EngineError:
            name = "plain"
    if name in ("bytetrack", "ocsort"):
        return LibraryTracker(name, rate), name
    if name != "plain":
        raise ArgumentError(f"{name!r} is not a tracker. Known: auto, plain, bytetrack, ocsort.")
    try:
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        raise EngineError("Tracking needs scipy: pip install 'crosscam[video]'.") from error
    return PlainTracker(), name
