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
from crosscam.video.frame_times import MISSING, Due, Stamps, Unread

# Frames of a folder have no times; MOT's seqinfo.ini gives a rate.
USUAL_RATE = 25.0
# What is digested of a large file: its size, its beginning and its end.
DIGESTED = 2**20
# FFmpeg draws any text as a terminal, and follows lists of other files.
TEXTS = frozenset(("tty", "concat", "hls", "dash", "sdp"))
# FFmpeg's flag of formats without stamps, such as raw H.264 (AVFMT_NOTIMESTAMPS).
NO_STAMPS = 0x80


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
        self.damaged = False
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
        due, pixels_of, unread = Due(rate), Upright(), Unread(self.path, self._length())
        number, self._reached = -1, 0.0
        with opened_video(os.fspath(self.path)) as (container, stream):
            self._tell_of_streams(container)
            stamps = Stamps(1 / float(stream.average_rate or USUAL_RATE))
            for number, frame in enumerate(decoded(container, stream, self._damaged, unread.look)):
                seconds = self._reached = stamps.seconds(frame.time)
                if number == 0:
                    self._tell_of_beginning(unread.before(frame.time))
                if due.take(seconds):
                    yield Frame(number, seconds, pixels_of(frame))
            self._tell_of_end(container, stream, stamps, unread)
        if number < 0:
            raise DataError(f"{self.path} holds no frame that can be decoded. Copy it again, or convert it.")

    def _tell_of_streams(self, container: Any) -> None:
        name, format_ = self.path.name, container.format
        count = len(_streams(container))
        if count > 1:
            self.notes.append(f"{name} holds {count} videos: only the first one counts.")
        if format_.flags & NO_STAMPS:
            self.notes.append(f"{name} ({format_.name}) tells no times: {self.rate:g} frames a second count.")

    def _tell_of_beginning(self, lost: float) -> None:
        if lost > MISSING:
            self.notes.append(
                f"{self.path.name}: its first {lost:.1f} s cannot be decoded. Times count from the first frame that "
                "can."
            )

    def _tell_of_end(self, container: Any, stream: Any, stamps: Stamps, unread: Unread) -> None:
        """Tell, unless damage was told, of what was passed over, and of an end that comes too early."""
        if stamps.restarts:
            at = ", ".join(f"{seconds:.1f} s" for seconds in stamps.restarts[:3]) + ", ..." * (len(stamps.restarts) > 3)
            self.notes.append(
                f"{self.path.name}: its times jump back after {at}, as where recordings were joined; they go on as if "
                "nothing lay between."
            )
        if self.damaged:
            return
        if unread.stretches:
            begin, end = unread.stretches[0]
            more = f", and {len(unread.stretches) - 1:,} other stretches" if len(unread.stretches) > 1 else ""
            times = " Times count from the first frame that can." if begin == self._begun else ""
            self.notes.append(
                f"{self.path.name} is damaged: nothing from {begin:.1f} s to {end:.1f} s{more} can be read.{times}"
            )
            return
        stated = self.duration
        if container.format.name == "avi":  # FFmpeg reckons the duration from the size of what is there
            stated = stream.frames * stamps.step
        # Some containers count their duration from 0, and not from the first frame.
        end = self._reached + max(0.0, stamps.first or 0.0)
        if stated is not None and stated - end > MISSING + 2 * stamps.step:
            self.notes.append(
                f"{self.path.name} ends at {self._reached:.1f} s, but its header says {stated:.1f} s; what is there "
                "is kept."
            )

    def _length(self) -> float | None:
        """Seconds from the first packet to the end; some containers count their duration from 0."""
        if self.duration is None or self._begun >= self.duration:
            return self.duration
        return self.duration - max(0.0, self._begun)

    def _damaged(self, why: str) -> None:
        if not self.damaged:
            self.damaged, at = True, f"{self._reached:.1f} s"
            self.notes.append(f"{self.path.name} is damaged after {at} ({why}); what can be read is kept.")


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
                f"{shown} is one image, in which nobody can be followed. Expected a video or a folder of frames; "
                "'crosscam gallery add' takes images of one person each."
            )
        streams = _streams(container)
        if not streams:
            raise DataError(f"{shown} holds no video. Expected a file with a video stream.")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def _streams(container: Any) -> list[Any]:
    """The videos of a container; the image of a song is none."""
    import av

    covers = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & covers]


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


class Upright:
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
