"""The few best crops of a track: sharp, whole, alone, tall enough and sure, spread over time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.video.detections import Detections, Floats, Pixels, areas, intersections

# A side of a box this near to the frame's edge is cut off by it.
EDGE = 2.0
# Another person who covers more of a box than this makes it crowded.
MOST_COVERED = 0.35
# People are between this much wider and taller than they are wide.
SHAPES = (1.0, 5.0)
# Crops of one track that are nearer in time than this compete with each other.
APART = 0.5
# Crops are kept at most this high, which is more than networks take.
KEPT_HEIGHT = 384
# Sharpness is compared at one size, and above this value a crop is sharp.
COMPARED = (64, 128)
SHARP = 6.0


@dataclass(frozen=True, eq=False, slots=True)
class Crop:
    """One image of a track.

    Attributes:
        frame: number, counted from 0.
        seconds: time of the frame.
        box: left, top, right, bottom in pixels.
        pixels: (H, W, 3) uint8 RGB, at most ``KEPT_HEIGHT`` high.
        quality: the larger, the better.
        reason: why it was chosen, in words.
    """

    frame: int
    seconds: float
    box: tuple[float, float, float, float]
    pixels: Pixels
    quality: float
    reason: str


@dataclass(frozen=True, eq=False, slots=True)
class Judged:
    """What the boxes of a frame are like, before any is cut out.

    Attributes:
        faults: (N,) what is wrong with each, in words; empty where nothing is.
        covered: (N,) share of each box that people in front of it cover.
    """

    faults: tuple[str, ...]
    covered: Floats


def judge(found: Detections, height: int, width: int, min_height: int) -> Judged:
    """Look at the boxes of a frame.

    Args:
        found: N people.
        height, width: of the frame.
        min_height: pixels.
    """
    boxes = found.boxes
    tall = boxes[:, 3] - boxes[:, 1]
    shape = tall / np.maximum(boxes[:, 2] - boxes[:, 0], 1e-9)
    room = np.concatenate((boxes[:, :2], np.array((width, height)) - boxes[:, 2:]), axis=1)
    nearest = room.min(axis=1)
    covered = _covered(boxes)
    faults = []
    for i in range(len(boxes)):
        if tall[i] < min_height:
            faults.append(f"less than {min_height} px tall")
        elif nearest[i] <= EDGE:
            faults.append("cut off by the edge of the frame")
        elif covered[i] > MOST_COVERED:
            faults.append("covered by another person")
        elif not SHAPES[0] <= shape[i] <= SHAPES[1]:
            faults.append("not of the shape of a standing person")
        else:
            faults.append("")
    return Judged(tuple(faults), covered)


def _covered(boxes: Floats) -> Floats:
    """(N,) largest share of each box that a person in front covers: one whose feet are lower in the frame."""
    if len(boxes) < 2:
        return np.zeros(len(boxes))
    shares = intersections(boxes, boxes) / np.maximum(areas(boxes), 1e-9)[:, None]
    in_front = boxes[None, :, 3] >= boxes[:, None, 3]
    np.fill_diagonal(in_front, False)
    covered: Floats = np.where(in_front, shares, 0.0).max(axis=1)
    return covered


@dataclass
class Choice:
    """The best crops of one track so far; at most ``most`` images are in memory.

    Attributes:
        most: crops to keep.
        kept: by time.
        faults: how many boxes were left out, by their fault.
    """

    most: int
    kept: list[Crop] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)

    def offer(self, pixels: Pixels, frame: int, seconds: float, box: Floats, score: float, covered: float) -> None:
        """Take a box of a frame if it is better than what is kept.

        Args:
            pixels: (H, W, 3) uint8 RGB, the frame.
            frame, seconds: its number and time.
            box: (4,) without a fault.
            score: the detector's confidence.
            covered: share of the box that others cover.
        """
        x0, y0, x1, y1 = box.tolist()
        tall = y1 - y0
        # What sharpness can add at most; most boxes of a long track need not be looked at.
        best = score * (1 - covered) * min(tall / KEPT_HEIGHT, 1.0) ** 0.5
        rival = next((c for c in self.kept if abs(c.seconds - seconds) < APART), None)
        if rival is None and len(self.kept) >= self.most:
            rival = min(self.kept, key=lambda c: c.quality)
        if rival is not None and best <= rival.quality:
            return
        crop = pixels[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
        sharp = sharpness(crop)
        quality = best * sharp / (sharp + SHARP)
        if rival is not None and quality <= rival.quality:
            return
        words = [
            "sharp" if sharp >= SHARP else "blurred",
            "whole",
            "alone" if covered == 0 else f"{covered:.0%} covered",
            f"{tall:.0f} px tall",
            f"confidence {score:.2f}",
        ]
        if rival is not None:
            self.kept.remove(rival)
        self.kept.append(Crop(frame, seconds, (x0, y0, x1, y1), _kept(crop), quality, ", ".join(words)))
        self.kept.sort(key=lambda c: c.seconds)

    def refuse(self, fault: str) -> None:
        """Count a box that is not offered."""
        self.faults[fault] = self.faults.get(fault, 0) + 1


def sharpness(crop: Pixels) -> float:
    """Mean absolute Laplacian of the gray levels at one size; about 3 for a blurred person and 10 for a sharp one."""
    gray = np.asarray(
        Image.fromarray(crop).convert("L").resize(COMPARED, Image.Resampling.BILINEAR, reducing_gap=2.0), np.float32
    )
    inner = 4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return float(np.abs(inner).mean())


def _kept(crop: Pixels) -> NDArray[np.uint8]:
    """A copy, so that the frame can go; not higher than networks need."""
    if len(crop) <= KEPT_HEIGHT:
        return crop.copy()
    width = max(1, round(crop.shape[1] * KEPT_HEIGHT / len(crop)))
    return np.asarray(Image.fromarray(crop).resize((width, KEPT_HEIGHT), Image.Resampling.BILINEAR), np.uint8)
