"""Live sources: cameras by address, of which the newest frame counts and the others are dropped and counted."""

from __future__ import annotations

import hashlib
import threading
import time as clock
from collections.abc import Callable, Iterator
from pathlib import Path

from crosscam.errors import DataError
from crosscam.video.decoding import Due, Frame, Pictures, Source, VideoFile, decoded, opened_video, without_password
from crosscam.video.frame_folder import FrameFolder

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
                    self.notes.append(f"{self.name} was lost after {number:,} frames; trying again.")
                clock.sleep(PAUSE)
        except Exception as error:  # shown by the thread that takes the frames
            self._failure = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_once(self, due: Due, number: int) -> int:
        picture = Pictures()
        options = {"rtsp_transport": "tcp"} if self._address.startswith("rtsp") else {}
        with opened_video(self._address, options, format=self._device, timeout=TIMEOUT) as (container, stream):
            for frame in decoded(container, stream, lambda _: None):
                if self._ended:
                    break
                seconds = clock.time()
                if due.take(seconds):
                    found = Frame(number, seconds, picture(frame))
                    with self._changed:
                        self.dropped += self._newest is not None
                        self._newest = found
                        self._changed.notify_all()
                number += 1
        return number


def open_source(text: str, stopped: Callable[[], bool] = lambda: False) -> Source:
    """The source that a user names.

    Args:
        text: a video file, a folder of frames, an address, or a device such as ``/dev/video0``.
        stopped: ends live sources.
    Raises:
        DataError: none of these.
    """
    if "://" in text:
        return LiveSource(text, stopped)
    path = Path(text)
    if path.is_char_device():
        return LiveSource(text, stopped, "v4l2")
    if path.is_dir():
        return FrameFolder(path)
    if not path.is_file():
        raise DataError(
            f"No video at {text}. Expected a video file, a folder of frames or an address such as rtsp://..."
        )
    return VideoFile(path)
