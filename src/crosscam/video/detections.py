"""What a detector is, and what its answer may look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import ArgumentError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
PERSON = "person"


@dataclass(frozen=True, eq=False, slots=True)
class Detections:
    """People in one frame.

    Attributes:
        boxes: (N, 4) float64 left, top, right, bottom in pixels.
        scores: (N,) float64 confidences in [0, 1].
    """

    boxes: Floats
    scores: Floats

    def __len__(self) -> int:
        """N."""
        return len(self.scores)

    def __getitem__(self, which: Any) -> Detections:
        """Those of a mask, slice or index array."""
        return Detections(self.boxes[which], self.scores[which])


NOTHING = Detections(np.zeros((0, 4)), np.zeros(0))

# (H, W, 3) uint8 RGB -> boxes (N, 4) left, top, right, bottom in pixels, and scores (N,); or what as_detections reads.
Detector = Callable[[Pixels], Any]


def as_detections(found: object) -> Detections:
    """The people that a detector's answer names.

    Args:
        found: (boxes, scores); an array (N, 4) or (N, 5) with the scores in the last column; :class:`Detections`;
            ``Detections`` of supervision; or the result of Ultralytics for one frame, or a list with that result. Of
            the last two, only the class "person" counts where they name classes.
    Returns:
        Boxes rounded to a hundredth of a pixel and scores to four places, so that a journal of them repeats them.
    Raises:
        ArgumentError: anything else, such as a number that is not finite, or shares of the frame in place of pixels.
    """
    if found is None:
        return NOTHING
    if isinstance(found, Detections):
        boxes, scores = found.boxes, found.scores
    elif hasattr(found, "xyxy"):
        boxes, scores = _of_supervision(found)
    elif hasattr(found, "boxes") and hasattr(found.boxes, "xyxy"):
        boxes, scores = _of_ultralytics(found)
    elif isinstance(found, list) and len(found) == 1 and hasattr(found[0], "boxes"):
        boxes, scores = _of_ultralytics(found[0])
    elif isinstance(found, tuple) and len(found) == 2:
        boxes, scores = _array(found[0]), _array(found[1])
    else:
        boxes = _array(found)
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        scores = boxes[:, 4] if boxes.ndim == 2 and boxes.shape[1] == 5 else np.ones(len(boxes))
        boxes = boxes[:, :4] if boxes.ndim == 2 else boxes
    if not (isinstance(found, Detections) or hasattr(found, "xyxy")):
        _check_corners(boxes)
    return _checked(boxes, scores)


def _check_corners(boxes: Floats) -> None:
    if boxes.ndim == 2 and boxes.shape[1] == 4 and (boxes[:, 2:] < boxes[:, :2]).any():
        wrong = boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)][0]
        raise ArgumentError(
            f"The detector gave the box {', '.join(f'{n:g}' for n in wrong)}. Expected left, top, right, bottom in "
            "pixels, and neither a width nor a height."
        )


def _checked(boxes: Floats, scores: Floats) -> Detections:
    if boxes.size == 0 and scores.size == 0:
        return NOTHING
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
        raise ArgumentError(
            f"The detector gave boxes {boxes.shape} and scores {scores.shape}. Expected (N, 4) left, top, right, "
            "bottom in pixels, and (N,)."
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ArgumentError("The detector gave a box or a score that is not a finite number.")
    scores = np.round(scores, 4)
    if (scores < 0).any() or (scores > 1).any():
        wrong = scores[(scores < 0) | (scores > 1)][0]
        raise ArgumentError(f"The detector gave the score {wrong:g}. Expected confidences from 0 to 1.")
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores = boxes[kept], scores[kept]
    if len(boxes) and np.abs(boxes).max() <= 1:
        raise ArgumentError(
            f"The detector gave the box {', '.join(f'{n:g}' for n in boxes[0])}. Expected left, top, right, bottom in "
            "pixels, and no shares of the frame."
        )
    return Detections(np.round(boxes, 2), scores)


def _of_supervision(found: Any) -> tuple[Floats, Floats]:
    boxes = _array(found.xyxy)
    scores = np.ones(len(boxes)) if getattr(found, "confidence", None) is None else _array(found.confidence)
    names = (getattr(found, "data", None) or {}).get("class_name")
    people = np.ones(len(boxes), bool) if names is None else np.asarray(names) == PERSON
    return boxes[people], scores[people]


def _of_ultralytics(found: Any) -> tuple[Floats, Floats]:
    boxes, scores = _array(found.boxes.xyxy), _array(found.boxes.conf)
    names = getattr(found, "names", None) or {}
    number = next((k for k, name in dict(names).items() if name == PERSON), None)
    people = np.ones(len(boxes), bool) if number is None else _array(found.boxes.cls) == number
    return boxes[people], scores[people]


def _array(values: Any) -> Floats:
    """Numbers of any kind; a tensor of a GPU is copied to the CPU."""
    try:
        values = values.cpu() if hasattr(values, "cpu") else values
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"The detector gave a {type(values).__name__}. Expected boxes (N, 4) and scores (N,), or Detections."
        ) from error


def overlaps(a: Floats, b: Floats) -> Floats:
    """Intersection over union.

    Args:
        a: (N, 4) boxes.
        b: (M, 4) boxes.
    Returns:
        (N, M) in [0, 1].
    """
    shared = intersections(a, b)
    return shared / np.maximum(areas(a)[:, None] + areas(b)[None] - shared, 1e-9)


def intersections(a: Floats, b: Floats) -> Floats:
    """(N, M) pixels that boxes (N, 4) and (M, 4) share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides: Floats = np.maximum(high - low, 0)
    return sides[:, :, 0] * sides[:, :, 1]


def areas(boxes: Floats) -> Floats:
    """(N,) pixels of boxes (N, 4)."""
    sides: Floats = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def suppress(found: Detections, most: float) -> Detections:
    """Non-maximum suppression: of boxes whose overlap is above ``most``, the one with the highest score stays."""
    order = np.argsort(-found.scores, kind="stable")
    table = overlaps(found.boxes, found.boxes)
    kept: list[int] = []
    for i in order:
        if not kept or table[i, kept].max() <= most:
            kept.append(int(i))
    return found[np.array(kept, dtype=int)]
