"""Sources of frames beside video files: a folder of frames; cameras by address, of which the newest frame counts."""

from __future__ import annotations

import configparser
import hashlib
import math
import os
import threading
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crosscam.data.images import decode_image
from crosscam.data.walk import IMAGE_SUFFIXES, natural_key
from crosscam.errors import ArgumentError, DataError, ImageError
from crosscam.system.text import FIRST_DATE, counted, printable
from crosscam.video.decoding import (
    USUAL_RATE,
    Frame,
    Source,
    Upright,
    VideoFile,
    decoded,
    opened_video,
    without_password,
)
from crosscam.video.frame_times import Due

# Digits of the seconds, milliseconds, microseconds and nanoseconds of the Unix epoch, today.
CLOCKS = (10, 13, 16, 19)
VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".ts", ".mpg", ".mpeg")


@dataclass
class FrameFolder:
    """A folder of images as a video, such as ``img1`` of MOT Challenge or the folder around it; see :class:`Source`.

    Where all names are numbers, they number the frames, counted from 1 as in MOT's text files; names of 10, 13, 16 or
    19 digits are times, seconds, milliseconds, microseconds or nanoseconds of the Unix epoch, unless they would be of
    the 1970s, as counters that are padded with zeros.

    Args:
        path: the folder.
        rate: frames a second, where no seqinfo.ini tells them.

    Raises:
        DataError: the folder holds no images.
        ArgumentError: a rate that is not one, or another than names or seqinfo.ini tell.

    Attributes:
        begun: seconds of the Unix epoch at the first frame; None where the names do not tell.
    """

    path: Path
    rate: float | None = None
    live: bool = False
    total: int | None = None
    notes: list[str] = field(default_factory=list)
    dropped: int = 0

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < 1000:
            raise ArgumentError(f"The frame rate is {self.rate}. Expected frames a second: above 0 and below 1,000.")
        inner = self.path / "img1"
        folder = inner if inner.is_dir() else self.path
        self.files = sorted((p for p in folder.iterdir() if _is_frame(p)), key=lambda p: natural_key(p.name))
        if not self.files:
            raise DataError(f"{self.path} holds no frames. {_instead(folder)}")
        if len(self.files) == 1:
            raise DataError(f"{self.path} holds one image, in which nobody can be followed. {_instead(folder)}")
        self.name = printable(os.path.abspath(self.path))
        self.key = _digest_of_folder(self.files)
        self.total = len(self.files)
        self._numbers, self._clock, self.begun = _numbers_of(self.files)
        found = _frame_rate(folder)
        videos = _videos_in(folder)
        if videos:
            self.notes.append(f"{self.path.name} holds videos beside frames, such as {videos[0]}: they do not count.")
        if self.rate is not None and (self._clock or not math.isclose(found or self.rate, self.rate, rel_tol=0.01)):
            tells = "the names of its frames are times" if self._clock else f"its seqinfo.ini says {found:g} a second"
            raise ArgumentError(f"{self.path}: {tells}, so a frame rate of {self.rate:g} does not count. Leave it out.")
        self.given = self.rate if self._clock is None and found is None else None
        self.rate = found or self.rate or USUAL_RATE
        if self._clock is None and found is None and self.given is None:
            self.notes.append(
                f"{self.path.name}: no seqinfo.ini gives a frame rate; {USUAL_RATE:.0f} a second count (--frame-rate)."
            )

    def frames(self, rate: float | None = None) -> Iterator[Frame]:
        """See :class:`Source`; images that cannot be read are left out, and told."""
        due, numbers = Due(rate), self.numbers()
        broken: list[Path] = []
        for number, path in zip(numbers, self.files, strict=True):
            seconds = self.seconds_of(number)
            if not due.take(seconds):
                continue
            try:
                pixels = decode_image(path)
            except ImageError as error:
                broken.append(path)
                if len(broken) == 1:
                    self.notes.append(f"frame {number} is left out: {error}")
                continue
            yield Frame(number, seconds, pixels)
        if len(broken) > 1:
            self.notes.append(f"{len(broken):,} frames of {self.path.name} could not be read.")
        if len(broken) == len(self.files):
            raise DataError(f"No frame of {self.path} can be read. First: {broken[0].name}.")

    def numbers(self) -> list[int]:
        """The number of each file's frame, counted from 0."""
        return self._numbers

    def seconds_of(self, number: int) -> float:
        """The time of a frame from the first one."""
        if self._clock is not None:
            return self._clock[number]
        return (number - self._numbers[0]) / (self.rate or USUAL_RATE)


def _numbers_of(files: list[Path]) -> tuple[list[int], list[float] | None, float | None]:
    """The number of each frame, from 0; its time from the first one, and the time of that, where names tell them."""
    stems = [path.stem for path in files]
    if not all(stem.isascii() and stem.isdecimal() for stem in stems):
        return list(range(len(stems))), None, None
    named = [int(stem) for stem in stems]
    if len({len(stem) for stem in stems}) == 1 and len(stems[0]) in CLOCKS and len(set(named)) == len(named):
        scale = 10 ** (len(stems[0]) - CLOCKS[0])
        if named[0] / scale >= FIRST_DATE:
            return list(range(len(stems))), [(number - named[0]) / scale for number in named], named[0] / scale
    if min(named) < 1 or len(set(named)) < len(named):
        return list(range(len(stems))), None, None
    return [number - 1 for number in named], None, None


def _videos_in(folder: Path) -> list[str]:
    return sorted(printable(path.name) for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)


def _instead(folder: Path) -> str:
    videos = _videos_in(folder)
    if videos:
        return f"It holds videos, such as {videos[0]}: give one, or name several in a cameras.toml."
    return "Expected a video, or images such as img1/000001.jpg."


def _digest_of_folder(files: list[Path]) -> str:
    """Eight hexadecimal digits of names and sizes; of the content, too, where all sizes are one, as those of BMP."""
    digest = hashlib.sha256()
    sizes = [path.stat().st_size for path in files]
    for path, size in zip(files, sizes, strict=True):
        digest.update(f"{path.name}|{size}\n".encode("utf-8", "surrogateescape"))
        if len(set(sizes)) == 1:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _frame_rate(folder: Path) -> float | None:
    """The rate in the seqinfo.ini in a folder or the one around it."""
    for place in (folder, folder.parent):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            if parser.read(place / "seqinfo.ini", encoding="utf-8"):
                rate = parser.getfloat("Sequence", "frameRate")
                return rate if 0 < rate < 1000 else None
        except (configparser.Error, ValueError, UnicodeDecodeError):
            return None
    return None


# A camera that is silent for this long is lost, and asked again after PAUSE, at most TRIES times one after another.
TIMEOUT, PAUSE, TRIES = 10.0, 2.0, 5
LOOK = 0.2
# Streams that are asked again; others that end are over, such as a file of a web server.
CAMERAS = ("rtsp", "rtmp")


class LiveSource:
    """A stream by address, such as ``rtsp://...``, or a camera's device; see :class:`crosscam.video.decoding.Source`.

    A thread decodes all the time and keeps the newest frame. A frame's time is the moment when it was decoded.

    Args:
        address: of the stream; a name and password in it are used, but neither shown nor kept.
        stopped: asked often; the frames end once it says yes.
        device: format of a device, such as ``v4l2``.
    Raises:
        DataError: at the first frame: the source cannot be opened.
    """

    live = True
    total: int | None = None
    rate: float | None = None

    def __init__(self, address: str, stopped: Callable[[], bool], device: str | None = None) -> None:
        self.name = without_password(address)
        self.key = hashlib.sha256(f"{self.name}|{clock.time_ns()}".encode()).hexdigest()[:8]
        self.notes: list[str] = []
        self.dropped = 0
        self._address, self._device, self._stopped = address, device, stopped
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._failure: Exception | None = None
        self._ended = False

    def frames(self, rate: float | None = None) -> Iterator[Frame]:
        """The newest frame each time, until the source ends or ``stopped``."""
        thread = threading.Thread(target=self._read, args=(Due(rate),), daemon=True)
        thread.start()
        try:
            while not self._stopped():
                with self._changed:
                    if self._newest is None and not self._ended:
                        self._changed.wait(LOOK)
                    frame, self._newest = self._newest, None
                    ended = self._ended
                if frame is not None:
                    yield frame
                elif ended:
                    break
        finally:
            self._ended = True
            thread.join(TIMEOUT)
        if self._failure is not None:
            raise self._failure

    def _read(self, due: Due) -> None:
        number, tries = 0, 0
        try:
            while not self._ended and tries < TRIES:
                before = number
                try:
                    number = self._read_once(due, number)
                except DataError:
                    if number == 0:
                        raise
                tries = 0 if number > before else tries + 1
                if number == 0 or self._ended or not self._address.startswith(CAMERAS):
                    break
                if tries == 1:
                    self.notes.append(f"{self.name} was lost after {counted(number, 'frame')}; trying again.")
                clock.sleep(PAUSE)
        except Exception as error:  # shown by the thread that takes the frames
            self._failure = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_once(self, due: Due, number: int) -> int:
        pixels_of = Upright()
        options = {"rtsp_transport": "tcp"} if self._address.startswith("rtsp") else {}
        with opened_video(self._address, options, format=self._device, timeout=TIMEOUT) as (container, stream):
            for frame in decoded(container, stream, lambda _: None):
                if self._ended:
                    break
                seconds = clock.time()
                if due.take(seconds):
                    found = Frame(number, seconds, pixels_of(frame))
                    with self._changed:
                        self.dropped += self._newest is not None
                        self._newest = found
                        self._changed.notify_all()
                number += 1
        return number


def open_source(text: str, stopped: Callable[[], bool] = lambda: False, frame_rate: float | None = None) -> Source:
    """The source that a user names.

    Args:
        text: a video file, a folder of frames, an address, or a device such as ``/dev/video0``.
        stopped: ends live sources.
        frame_rate: frames a second of a folder of frames without a seqinfo.ini.
    Raises:
        DataError: none of these.
    """
    if "://" in text:
        return LiveSource(text, stopped)
    path = Path(text)
    if path.is_char_device():
        return LiveSource(text, stopped, "v4l2")
    if path.is_dir():
        return FrameFolder(path, frame_rate)
    if not path.is_file():
        raise DataError(
            f"No video at {text}. Expected a video file, a folder of frames or an address such as rtsp://..."
        )
    return VideoFile(path)
