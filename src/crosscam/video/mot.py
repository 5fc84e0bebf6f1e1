"""MOT Challenge text: detections to read, and tracks to write, as ``frame,id,left,top,width,height,confidence,...``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from crosscam.errors import DataError
from crosscam.video.detections import NOTHING, Detections, Pixels, as_detections


class MotDetections:
    """The detections of a ``det.txt``, by frame.

    Args:
        path: the file; its frames count from 1.
    Raises:
        DataError: no such file, or a line of another form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames = read_mot(path)
        self._next = 0

    def __repr__(self) -> str:
        return f"MotDetections({str(self.path)!r}, {len(self._frames)} frames)"

    def __call__(self, _: Pixels) -> Detections:
        """People in the next frame, for callers that show each frame once and in order."""
        self._next += 1
        return self.of_frame(self._next - 1)

    def of_frame(self, number: int) -> Detections:
        """People in a frame by number, counted from 0."""
        return self._frames.get(number + 1, NOTHING)


def read_mot(path: Path) -> dict[int, Detections]:
    """Detections by frame, counted from 1.

    Confidences of MOT's public detectors need not lie in [0, 1]: larger ones count as 1, and the -1 that means "none"
    counts as 1 too.

    Raises:
        DataError: no such file, or a line that is not at least six numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a MOT det.txt ({error}).") from error
    rows: dict[int, list[tuple[float, ...]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            frame, _, left, top, width, height, *more = (float(n) for n in line.split(","))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: {line!r:.60} is not a line of a MOT det.txt. Expected "
                "frame,-1,left,top,width,height,confidence."
            ) from error
        score = more[0] if more and more[0] >= 0 else 1.0
        rows.setdefault(int(frame), []).append((left, top, left + width, top + height, min(score, 1.0)))
    return {frame: as_detections(np.array(found)) for frame, found in rows.items()}


def mot_lines(track: int, boxes: Iterable[tuple[int, Sequence[float], float]]) -> str:
    """The lines of a track.

    Args:
        track: its number.
        boxes: frame, counted from 0; left, top, right, bottom; score.
    """
    return "".join(
        f"{frame + 1},{track},{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f},{score:.4f},-1,-1,-1\n"
        for frame, (x0, y0, x1, y1), score in boxes
    )
