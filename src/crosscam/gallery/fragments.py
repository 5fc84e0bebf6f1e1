"""Where a crop is from: a video, a time and a box, as the path of a gallery's entry.

The form is that of W3C's Media Fragments URI 1.0: ``/videos/hall.mp4#t=4.920&xywh=310,88,64,171``. ``t`` is in seconds
from the first frame; of a live source it is a date, ``t=clock:2026-11-24T08:30:04.920Z``. Two more pairs, which other
programs pass over: ``frame``, the number of the frame, counted from 0, and ``seen``, the first and the last time of the
whole track, in seconds after this crop (the first is zero or negative).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from crosscam.system.text import FIRST_DATE

# Left, top, width, height in pixels.
Box = tuple[int, int, int, int]
_START = "#t="
_CLOCK = "clock:"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A box in a frame of a video.

    Attributes:
        video: path of the file or folder, or address of the live source.
        seconds: from the video's first frame; of a live source, of the Unix epoch.
        box: left, top, width, height in pixels of the upright frame.
        frame: number of the frame, counted from 0.
        seen: (first, last) seconds of the track, on the clock of ``seconds``.
        live: whether the source is live, so that ``seconds`` is a date.
    """

    video: str
    seconds: float
    box: Box
    frame: int
    seen: tuple[float, float]
    live: bool = False

    def __str__(self) -> str:
        """The path of the entry; equal fragments have equal paths."""
        at = _CLOCK + _date(self.seconds) if self.live else f"{self.seconds:.3f}"
        before, after = (f"{t - self.seconds:.3f}" for t in self.seen)
        box = ",".join(map(str, self.box))
        return f"{self.video}{_START}{at}&xywh={box}&frame={self.frame}&seen={before},{after}"

    @classmethod
    def read(cls, path: str) -> Fragment | None:
        """The fragment that an entry's path names; None where the path is another one, such as an image's."""
        video, mark, rest = path.rpartition(_START)
        pairs = dict(pair.partition("=")[::2] for pair in f"t={rest}".split("&"))
        try:
            at, live = pairs["t"], pairs["t"].startswith(_CLOCK)
            seconds = datetime.fromisoformat(at.removeprefix(_CLOCK)).timestamp() if live else float(at)
            left, top, width, height = (int(n) for n in pairs["xywh"].removeprefix("pixel:").split(","))
            before, after = (float(n) for n in pairs.get("seen", "0,0").split(","))
            frame = int(pairs.get("frame", "-1"))
        except (KeyError, ValueError):
            return None
        if not mark or not math.isfinite(seconds + before + after):
            return None
        seen = (round(seconds + before, 3), round(seconds + after, 3))
        return cls(video, seconds, (left, top, width, height), frame, seen, live)


def shown_name(path: str) -> str:
    """What a page calls an entry: the last part of its path, and for a crop of a file the video and its time."""
    fragment = Fragment.read(path)
    name = last_part(path if fragment is None else fragment.video)
    return name if fragment is None or fragment.live else f"{name}, {fragment.seconds:.2f} s"


def last_part(path: str) -> str:
    """The last part of a path of any system; empty where it has none."""
    return PurePosixPath(path.replace("\\", "/")).name


def clock_span(times: Sequence[float] | NDArray[np.float64]) -> tuple[float, float] | None:
    """First and last of times in seconds; where some are dates, of the dates alone. None where there are none."""
    if not len(times):
        return None
    found = np.asarray(times, np.float64)
    dates = found[found >= FIRST_DATE]
    of = dates if len(dates) else found
    return float(of.min()), float(of.max())


def _date(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
