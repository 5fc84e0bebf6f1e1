"""Frames with their times, from a video file or a folder of frames; :mod:`crosscam.video.live` has live sources."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from crosscam.data.crops import display_matrix, upright
from crosscam.errors import DataError
from crosscam.system import needed
from crosscam.system.text import is_unicode, printable
from crosscam.video.detections import Pixels

# Frames of a folder have no times; MOT's seqinfo.ini gives a rate.
USUAL_RATE = 25.0
# A file that ends by this many seconds before its header says is told.
MISSING_END = 1.0
# What is digested of a large file: its size, its beginning and its end.
DIGESTED = 2**20
# FFmpeg draws any text as a terminal, and follows lists of other files.
TEXTS = frozenset(("tty", "concat", "hls", "dash", "sdp"))


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One frame.

    Attributes:
        number: counted from 0.
        seconds: from the first frame, by the presentation stamps; of a live source, of the Unix epoch.
        pixels: (H, W, 3) uint8 RGB, upright.
    """

    number: int
    seconds: float
    pixels: Pixels


class Source(Protocol):
    """Where frames come from.

    Attributes:
        name: what a gallery keeps: the absolute path, or the address without a password.
        key: hexadecimal digits of the content, the same wherever the file lies.
        live: whether frames come by the clock and are lost when they are not taken in time.
        total: frames to come, about; None where it is not known.
        rate: frames a second, about; None where it is not known.
        notes: faults that were found on the way, one sentence each; what was read before them counts.
        dropped: frames of a live source that came while the one before was being worked on.
    """

    name: str
    key: str
    live: bool
    total: int | None
    rate: float | None
    notes: list[str]
    dropped: int

    def frames(self, rate: float | None = None) -> Iterator[Frame]:
        """The frames in order; at most ``rate`` a second of the source's own time where it is given."""


@dataclass
class VideoFile:
    """A video file, decoded frame by frame; see :class:`Source`.

    Raises:
        DataError: PyAV is not installed, or the file holds no video that can be decoded.
    """

    path: Path
    live: bool = False
    total: int | None = None
    rate: float | None = None
    notes: list[str] = field(default_factory=list)
    dropped: int = 0

    def __post_init__(self) -> None:
        self.name = printable(os.path.abspath(self.path))
        self.key = digest_of_file(self.path)
        with opened_video(os.fspath(self.path)) as (container, stream):
            self.rate = float(stream.average_rate or stream.guessed_rate or USUAL_RATE)
            self.duration: float | None = None if container.duration is None else container.duration / 1_000_000
            self._begun: float = (container.start_time or 0) / 1_000_000
            self.made = container.metadata.get("creation_time")
            self.total = stream.frames or (None if self.duration is None else round(self.duration * self.rate))

    def frames(self, rate: float | None = None) -> Iterator[Frame]:
        """See :class:`Source`; damaged frames are left out, and told with their time."""
        due, picture, unread = Due(rate), Pictures(), Unread(self.path, self._length())
        first: float | None = None
        number, seconds, self._reached = -1, 0.0, 0.0
        with opened_video(os.fspath(self.path)) as (container, stream):
            step = 1 / float(stream.average_rate or USUAL_RATE)
            for frame in decoded(container, stream, self._damaged, unread.look):
                number += 1
                stamp = frame.time
                first = stamp if first is None else first
                at = seconds + step * (number > 0) if stamp is None or first is None else stamp - first
                seconds = self._reached = max(seconds, at)  # a stamp that jumps back does not turn time around
                if due.take(seconds):
                    yield Frame(number, seconds, picture(frame))
        if number < 0:
            raise DataError(f"{self.path} holds no frame that can be decoded. Copy it again, or convert it.")
        if unread.stretches and not self.notes:
            begin, end = unread.stretches[0]
            more = f", and {len(unread.stretches) - 1:,} other stretches" if len(unread.stretches) > 1 else ""
            times = " Times count from the first frame that can." if begin == self._begun else ""
            self.notes.append(
                f"{self.path.name} is damaged: nothing from {begin:.1f} s to {end:.1f} s{more} can be read.{times}"
            )
        # Some containers count their duration from 0, and not from the first frame.
        end = max(seconds, seconds + (first or 0.0))
        if self.duration is not None and not self.notes and self.duration - end > MISSING_END + 2 * step:
            self.notes.append(
                f"{self.path.name} ends at {seconds:.1f} s, but its header says {self.duration:.1f} s; what is there "
                "is kept."
            )

    def _length(self) -> float | None:
        """Seconds from the first packet to the end; some containers count their duration from 0."""
        if self.duration is None or self._begun >= self.duration:
            return self.duration
        return self.duration - max(0.0, self._begun)

    def _damaged(self, why: str) -> None:
        if not self.notes:
            at = f"{self._reached:.1f} s"
            self.notes.append(f"{self.path.name} is damaged after {at} ({why}); what can be read is kept.")


class Unread:
    """Stretches of a damaged file that its container passes over without an error.

    Between two packets of the video is a time without any, and a part of the file that is as large as a third of what
    such a time takes in it; a video that shows nothing new for a while has nothing there, or sound.

    Args:
        path: the file.
        length: its seconds; None where that is not known, so that nothing is found.

    Attributes:
        stretches: beginning and end of each, in seconds of the file's own time.
    """

    def __init__(self, path: Path, length: float | None) -> None:
        self._pace = path.stat().st_size / length if length else None
        self._seconds: float | None = None
        self._end = 0
        self.stretches: list[tuple[float, float]] = []

    def look(self, packet: Any) -> None:
        """Look at the next packet of PyAV."""
        if self._pace is None or packet.pts is None or packet.pos is None:
            return
        seconds = float(packet.pts * packet.time_base)
        before = seconds if self._seconds is None else self._seconds
        apart = seconds - before
        if apart > MISSING_END and packet.pos - self._end > apart * self._pace / 3:
            self.stretches.append((before, seconds))
        # Packets come in the order of decoding, in which times go back and forth.
        self._seconds, self._end = max(before, seconds), packet.pos + packet.size


class Due:
    """Which frames to take so that there are at most ``rate`` a second; all without a rate."""

    def __init__(self, rate: float | None) -> None:
        self._step = None if rate is None else 1 / rate
        self._next: float | None = None

    def take(self, seconds: float) -> bool:
        """Whether the frame of this time is taken."""
        if self._step is None:
            return True
        if self._next is not None and seconds < self._next - 1e-6:
            return False
        planned = seconds if self._next is None else self._next
        # On the grid of the rate, so that 10 of 25 frames a second are 10 and not 8.
        self._next = max(planned, seconds - self._step) + self._step
        return True


@contextmanager
def opened_video(address: str, options: dict[str, str] | None = None, **how: Any) -> Iterator[tuple[Any, Any]]:
    """A container of PyAV and its first video stream.

    Raises:
        DataError: PyAV is not installed, or this is not a video.
    """
    av = needed("av", "Reading a video needs PyAV: pip install 'crosscam[video]'.")
    shown = without_password(address)
    with ExitStack() as stack:
        try:
            # PyAV takes no path that is not UTF-8, but any open file.
            source = address if is_unicode(address) else stack.enter_context(open(address, "rb"))
            container = stack.enter_context(av.open(source, "r", options=options or {}, **how))
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"{shown} is not a video that can be read ({reason}). Expected a video file, a folder of frames or an "
                "address such as rtsp://..."
            ) from error
        if "://" not in address and set(container.format.name.split(",")) & TEXTS:
            raise DataError(f"{shown} is a text and not a video that can be read. Expected a video file.")
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise DataError(
                f"{shown} is one picture, in which nobody can be followed. Expected a video or a folder of frames; "
                "'crosscam gallery add' takes pictures of one person each."
            )
        covers = av.stream.Disposition.attached_pic  # the picture of a song
        stream = next((stream for stream in container.streams.video if not stream.disposition & covers), None)
        if stream is None:
            raise DataError(f"{shown} holds no video. Expected a file with a video stream.")
        stream.thread_type = "AUTO"
        yield container, stream


def decoded(
    container: Any, stream: Any, damaged: Callable[[str], None], look: Callable[[Any], object] = id
) -> Iterator[Any]:
    """Frames of PyAV; what cannot be decoded is told to ``damaged`` and left out. ``look`` is shown each packet."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            damaged(str(error.strerror))
            return
        if packet is None:
            return
        look(packet)
        try:
            yield from packet.decode()
        except av.FFmpegError as error:
            if not isinstance(error, av.EOFError):
                damaged(str(error.strerror))


class Pictures:
    """Turns the frames of one stream into pixels.

    The container's rotation is read from the first frame: to look at it holds each frame of PyAV in a circle of
    references, in memory until the collector comes.
    """

    def __init__(self) -> None:
        self._matrix: tuple[float, float, float, float] | None = None

    def __call__(self, frame: Any) -> Pixels:
        """(H, W, 3) uint8 RGB of a frame of PyAV, upright."""
        if self._matrix is None:
            self._matrix = display_matrix(frame)
        return upright(frame.to_ndarray(format="rgb24"), self._matrix)


def without_password(address: str) -> str:
    """An address without the user's name and password, as it is shown and kept."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return printable(address)
    host, slash, path = rest.partition("/")
    return printable(scheme + mark + host.rpartition("@")[2] + slash + path)


def digest_of_file(path: Path) -> str:
    """Eight hexadecimal digits of a file's size, beginning and end."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        digest.update(file.read(DIGESTED))
        file.seek(max(0, size - DIGESTED))
        digest.update(file.read(DIGESTED))
    return digest.hexdigest()[:8]
