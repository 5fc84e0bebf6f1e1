"""Large frames in overlapping tiles: people who are small in the frame are larger for the detector."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from crosscam.errors import ArgumentError
from crosscam.video.detections import (
    Detections,
    Detector,
    Pixels,
    areas,
    as_detections,
    intersections,
    suppress,
)

OVERLAP = 0.2
MOST_TILES = 64
MOST_IOU = 0.5
# A box that lies by this share in another one is a piece of the same person, cut by a tile's edge.
INSIDE = 0.8
EDGE = 2.0


@dataclass(frozen=True)
class Tiled:
    """A detector on the whole frame and on each tile, the answers merged.

    Attributes:
        detector: of one frame.
        columns, rows: how many tiles; neighbors share ``OVERLAP`` of their size.
    """

    detector: Detector
    columns: int
    rows: int

    def __call__(self, frame: Pixels) -> Detections:
        """People in a frame (H, W, 3) uint8 RGB."""
        height, width = frame.shape[:2]
        found = [as_detections(self.detector(frame))]
        for top, bottom in spans(height, self.rows):
            for left, right in spans(width, self.columns):
                part = as_detections(self.detector(np.ascontiguousarray(frame[top:bottom, left:right])))
                inner = np.array((left > 0, top > 0, right < width, bottom < height))
                size = np.array((0, 0, right - left, bottom - top))
                near = np.abs(part.boxes - size) <= EDGE
                # What an inner edge of the tile cuts is whole in the next tile or in the whole frame.
                whole = part[~(near & inner).any(axis=1)]
                found.append(Detections(whole.boxes + np.array((left, top, left, top)), whole.scores))
        merged = Detections(np.concatenate([f.boxes for f in found]), np.concatenate([f.scores for f in found]))
        return _without_pieces(suppress(merged, MOST_IOU))


def _without_pieces(found: Detections) -> Detections:
    """Without boxes that lie in a larger one whose score is at least as high."""
    shared = intersections(found.boxes, found.boxes) / np.maximum(areas(found.boxes), 1e-9)[:, None]
    larger = areas(found.boxes)[None] > areas(found.boxes)[:, None]
    better = found.scores[None] >= found.scores[:, None]
    return found[~((shared > INSIDE) & larger & better).any(axis=1)]


def spans(size: int, count: int) -> list[tuple[int, int]]:
    """First and last pixel of ``count`` overlapping pieces of a side, which cover it."""
    piece = size / (count - (count - 1) * OVERLAP)
    starts = [round(i * piece * (1 - OVERLAP)) for i in range(count)]
    return [(start, min(size, round(start + piece))) for start in starts[:-1]] + [(starts[-1], size)]


def read_tiles(text: str) -> tuple[int, int]:
    """Columns and rows of ``"3x2"``.

    Raises:
        ArgumentError: another form, or more than ``MOST_TILES``.
    """
    match = re.fullmatch(r"([1-9][0-9]?)\s*[x×]\s*([1-9][0-9]?)", text.strip())
    if match is None or int(match[1]) * int(match[2]) > MOST_TILES:
        raise ArgumentError(
            f"--tiles {text!r:.40}: expected columns and rows such as 3x2, at most {MOST_TILES} tiles in all."
        )
    return int(match[1]), int(match[2])
