"""Watch a video once for each instant, and be killed there; forks from a process that has decoded nothing yet."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import scipy.optimize  # noqa: F401 - before the forks, for it takes longer than they do
from drawn_video import Boxes, MeanColors

from crosscam.gallery import open_gallery
from crosscam.video import watch_record, watching
from crosscam.video.live import open_source
from crosscam.video.tracks import WatchSettings

GIVEN: dict[str, Any] = {"settings": WatchSettings(tracker="plain"), "camera": "Kamera Süd", "start": 1.7e9}


def die(where: str, after: int) -> None:
    """Kill this process at the next frame after ``after``, or before or after a write is remembered."""
    counted = 0

    def count(name: str) -> None:
        nonlocal counted
        counted += name == where
        if counted > after:
            os.kill(os.getpid(), signal.SIGKILL)

    detect, remember = watching._Run._detect, watch_record.WatchRecord.remember

    def detect_and_count(self: Any, frame: Any) -> Any:
        count("frame")
        return detect(self, frame)

    def remember_and_count(self: Any, writer: Any, frame: Any) -> None:
        count("added")
        remember(self, writer, frame)
        count("remembered")

    watching._Run._detect = detect_and_count  # type: ignore[method-assign]
    watch_record.WatchRecord.remember = remember_and_count  # type: ignore[method-assign]


def main(video: str, truth: Any, instants: list[tuple[Path, str, int]]) -> None:
    """One process after another; tells how each ended."""
    watching.TRACKS_AT_ONCE = 1
    for place, where, after in instants:
        child = os.fork()
        if child == 0:
            die(where, after)
            extractor: Any = MeanColors()
            with open_gallery(place) as gallery:
                watching.watch(open_source(video), Boxes(truth), gallery=gallery, extractor=extractor, **GIVEN)
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")


if __name__ == "__main__":
    main(*pickle.load(sys.stdin.buffer))  # noqa: S301 - from the test
