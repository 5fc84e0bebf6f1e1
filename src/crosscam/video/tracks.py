"""How a video is watched: the settings; the tracks while they are open, and whole ones as they end; as files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crosscam.errors import ArgumentError, DataError
from crosscam.system.files import make_folder
from crosscam.video.choosing import Choice, Crop, judge
from crosscam.video.decoding import Frame
from crosscam.video.detections import Detections
from crosscam.video.mot import mot_lines
from crosscam.video.tracking import Tracker, is_over


@dataclass(frozen=True)
class WatchSettings:
    """What decides which crops of a video come into a gallery.

    Attributes:
        rate: frames a second that are looked at; None for all.
        tiles: (columns, rows) of overlapping tiles beside the whole frame; None for the whole frame alone.
        tracker: ``plain``, ``bytetrack`` or ``ocsort``.
        min_score: detections of a lower confidence are left out.
        min_height: pixels; people who are smaller are tracked, but not cropped.
        crops: most crops of one track.
        min_seen: frames; tracks that were seen in fewer are left out.
        longest: seconds after which a track is written and goes on as a new one, so that memory stays bounded.
    """

    rate: float | None = None
    tiles: tuple[int, int] | None = None
    tracker: str = "plain"
    min_score: float = 0.1
    min_height: int = 64
    crops: int = 4
    min_seen: int = 3
    longest: float = 300.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("rate", 0.01, 1000),
            ("min_score", 0, 1),
            ("min_height", 1, 10_000),
            ("crops", 1, 100),
            ("min_seen", 1, 1000),
            ("longest", 1, 86_400),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ArgumentError(f"{name.replace('_', '-')} must be from {low} to {high:,}, got {value}.")


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


COLUMNS = ("track", "crop", "frame", "seconds", "left", "top", "right", "bottom", "quality", "reason")


class Exported:
    """A folder with ``tracks.txt`` (MOT), ``crops.csv`` and ``crops/``; written anew each time.

    Raises:
        DataError: at each call: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = ExitStack()
        try:
            make_folder(folder / "crops")
            if (folder / "crops.csv").is_file():  # an earlier video's crops are in no table any more
                for old in (folder / "crops").glob("[0-9][0-9][0-9][0-9]*_[0-9]*.jpg"):
                    old.unlink()
            self._mot, table = (
                self._files.enter_context(path.open("w", encoding="utf-8", newline=""))
                for path in (folder / "tracks.txt", folder / "crops.csv")
            )
        except OSError as error:
            raise DataError(f"{folder} cannot be written ({error.strerror}).") from error
        self._rows: Any = csv.writer(table)
        self._rows.writerow(COLUMNS)

    def add(self, track: Track) -> None:
        """Write a track."""
        with self._written():
            self._mot.write(mot_lines(track.number, track.boxes))
            for crop in track.crops:
                name = f"{track.number:04d}_{crop.frame:06d}.jpg"
                Image.fromarray(crop.pixels).save(self.folder / "crops" / name, quality=92)
                box = [f"{n:.1f}" for n in crop.box]
                numbers = (f"{crop.seconds:.3f}", *box, f"{crop.quality:.3f}")
                self._rows.writerow((track.number, name, crop.frame, *numbers, crop.reason))

    def close(self) -> None:
        """Flush and close."""
        with self._written():
            self._files.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be written ({error.strerror}). Free some space, or choose another place."
            ) from error
