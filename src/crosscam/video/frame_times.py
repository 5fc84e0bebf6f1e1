"""Times of the frames of a video file: from stamps that may be wrong; which frames to take; what has no frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Frames or times that are missing for longer than this are told, and stamps that go back by more begin anew.
MISSING = 1.0


class Stamps:
    """Seconds from the first frame, by stamps that may be missing, go back a little, or begin anew.

    Args:
        step: seconds between two frames, about.

    Attributes:
        step: the same.
        first: stamp of the first frame; None where it has none.
        restarts: times after which the stamps began anew, as those of joined recordings do.
    """

    def __init__(self, step: float) -> None:
        self.step = step
        self.first: float | None = None
        self.restarts: list[float] = []
        self._base: float | None = None
        self._last: float | None = None

    def seconds(self, stamp: float | None) -> float:
        """The time of the next frame; it never goes back."""
        due = 0.0 if self._last is None else self._last + self.step
        last = self._last or 0.0
        if stamp is None:
            self._last = due
            return due
        if self._last is None:
            self.first = stamp
        if self._base is None:  # frames without a stamp may have come before
            self._base = stamp - due
        elif stamp - self._base < last - MISSING:
            self.restarts.append(last)
            self._base = stamp - due
        self._last = max(last, stamp - self._base)
        return self._last


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
        self._first: float | None = None
        self.stretches: list[tuple[float, float]] = []

    def before(self, stamp: float | None) -> float:
        """Seconds of the packets that were looked at before a stamp."""
        return 0.0 if stamp is None or self._first is None else stamp - self._first

    def look(self, packet: Any) -> None:
        """Look at the next packet of PyAV."""
        if packet.pts is not None and not packet.is_discard:
            stamp = float(packet.pts * packet.time_base)
            self._first = stamp if self._first is None else min(self._first, stamp)
        if self._pace is None or packet.pts is None or packet.pos is None:
            return
        seconds = float(packet.pts * packet.time_base)
        before = seconds if self._seconds is None else self._seconds
        apart = seconds - before
        if apart > MISSING and packet.pos - self._end > apart * self._pace / 3:
            self.stretches.append((before, seconds))
        # Packets come in the order of decoding, in which times go back and forth.
        self._seconds, self._end = max(before, seconds), packet.pos + packet.size
