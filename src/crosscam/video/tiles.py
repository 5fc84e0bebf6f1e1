"""Large frames in overlapping tiles: people who are small in the frame are larger for the detector."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
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

# Left, top, right and bottom in pixels.
Window = tuple[int, int, int, int]
OVERLAP = 0.2
WINDOW_OVERLAP, WINDOW_SLACK = 0.6, 0.13
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
        tiles = [
            (left, top, right, bottom)
            for top, bottom in spans(height, self.rows)
            for left, right in spans(width, self.columns)
        ]
        return look_at(self.detector, frame, [(0, 0, width, height), *tiles])


def look_at(detector: Detector, frame: Pixels, windows: Sequence[Window]) -> Detections:
    """What a detector finds in pieces of a frame, the answers merged.

    Args:
        detector: of one frame.
        frame: (H, W, 3) uint8 RGB.
        windows: left, top, right, bottom of each piece in pixels.
    """
    height, width = frame.shape[:2]
    found = []
    for left, top, right, bottom in windows:
        part = as_detections(detector(np.ascontiguousarray(frame[top:bottom, left:right])))
        inner = np.array((left > 0, top > 0, right < width, bottom < height))
        size = np.array((0, 0, right - left, bottom - top))
        near = np.abs(part.boxes - size) <= EDGE
        # What an inner edge of the window cuts is whole in the next window or in the whole frame.
        whole = part[~(near & inner).any(axis=1)]
        found.append(Detections(whole.boxes + np.array((left, top, left, top)), whole.scores))
    merged = Detections(np.concatenate([f.boxes for f in found]), np.concatenate([f.scores for f in found]))
    return _without_pieces(suppress(merged, MOST_IOU))


def windows_of(frame: Pixels, longest: float) -> list[Window]:
    """Windows along the longer side of a frame, each ``longest`` times as long as the shorter side.

    Neighbors share ``WINDOW_OVERLAP`` or more of their length, so that a person whom one cuts is whole in the next. A
    frame that is longer by ``WINDOW_SLACK`` or less is one window.
    """
    height, width = frame.shape[:2]
    long, short = max(height, width), min(height, width)
    piece = long if long <= short * longest * (1 + WINDOW_SLACK) else round(short * longest)
    count = 1 + math.ceil(round((long - piece) / (piece * (1 - WINDOW_OVERLAP)), 6))
    starts = [round(start) for start in np.linspace(0, long - piece, count)]
    if width >= height:
        return [(start, 0, start + piece, height) for start in starts]
    return [(0, start, width, start + piece) for start in starts]


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
