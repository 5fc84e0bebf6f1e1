"""The plain tracker of `crosscam watch`, fed with descriptors: an experiment, for benchmarks/tracker_choice.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam.inference.extractor import Extractor
from crosscam.video.detections import Detections, areas, intersections
from crosscam.video.live import open_source
from crosscam.video.tracking import PlainTracker, is_over

# A box that begins a track takes up a lost one whose mean descriptor is this near, if it overlaps the way to it.
NEAR, REACH = 0.7, 3.0
# Numbers of tracks that lost theirs to another one.
NEW = 100_000


class FedTracker(PlainTracker):
    """Takes up lost tracks by their descriptors, where the overlap of boxes has failed.

    Args:
        video: whose frames are described.
        network: that describes them.
    """

    def __init__(self, video: Path, network: str) -> None:
        super().__init__()
        self._frames = {frame.number: frame.pixels for frame in open_source(str(video)).frames()}
        self._extractor = Extractor.load(network)
        self._seen: dict[int, tuple[NDArray[np.float64], NDArray[np.float64], float, int]] = {}
        self._names: dict[int, int] = {}
        self._number = self._count = 0

    def look(self, frame: int) -> NDArray[np.uint8]:
        """Take the frame that comes next."""
        self._number = frame
        return self._frames[frame]

    def update(self, found: Detections, seconds: float) -> NDArray[np.int64]:
        """See :class:`crosscam.video.tracking.Tracker`."""
        numbers = super().update(found, seconds)
        self._count += 1
        tracked = np.flatnonzero(numbers >= 0)
        rows = self._describe(found.boxes[tracked])
        free = {name for name, seen in self._seen.items() if seen[3] < self._count - 1}
        free = {n for n in free if not is_over(seconds - self._seen[n][2], self._count - self._seen[n][3])}
        free -= {self._names.get(int(numbers[i]), int(numbers[i])) for i in tracked}
        given: set[int] = set()
        for i, row in zip(tracked.tolist(), rows, strict=True):
            number = int(numbers[i])
            if number not in self._names:
                self._names[number] = self._taken_up(found.boxes[i], row, free) or number
                free.discard(self._names[number])
            name = self._names[number]
            if name in given:  # the plain tracker has found its own track again
                name = self._names[number] = NEW + number
            given.add(name)
            total = row if name not in self._seen else self._seen[name][1] + row
            self._seen[name] = found.boxes[i], total, seconds, self._count
            numbers[i] = name
        return numbers

    def _taken_up(self, box: NDArray[np.float64], row: NDArray[np.float64], free: set[int]) -> int | None:
        near = []
        for name in free:
            place, total, *_ = self._seen[name]
            sides = np.tile(place[2:] - place[:2], 2) * (-REACH, -0.5, REACH, 0.5)
            there = intersections((place + sides)[None], box[None])[0, 0] / areas(box[None])[0]
            distance = float(np.linalg.norm(total / np.linalg.norm(total) - row))
            if there > 0.5 and distance < NEAR:
                near.append((distance, name))
        return min(near)[1] if near else None

    def _describe(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        pixels = self._frames[self._number]
        crops = []
        for x0, y0, x1, y1 in boxes.round().astype(int).clip(0).tolist():
            crop = pixels[y0 : max(y1, y0 + 2), x0 : max(x1, x0 + 2)]
            crops.append(crop if crop.size else pixels[:2, :2])
        if not crops:
            return np.zeros((0, 1))
        rows = np.asarray(self._extractor([np.ascontiguousarray(crop) for crop in crops]), np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
