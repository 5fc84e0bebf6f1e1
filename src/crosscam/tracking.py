"""What trackers take for appearance: boxes of a frame in, descriptors out. No tracker is imported."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.data.crops import Colour
from crosscam.extraction import Extractor


class Detections(Protocol):
    """Detections as supervision holds them."""

    @property
    def xyxy(self) -> NDArray[np.floating]:
        """(N, 4) left, top, right, bottom in pixels."""


class TrackerFeatures:
    """An extractor in the shape that trackers call.

    >>> features = TrackerFeatures("runs/demo/model.onnx")  # doctest: +SKIP
    >>> features(frame, boxes).shape  # doctest: +SKIP
    (7, 1024)

    Args:
        source: an extractor, a run folder, or an exported file.
        colour: order of the frames' channels; OpenCV, and most trackers with it, have ``"bgr"``.
    """

    def __init__(self, source: Extractor | str | os.PathLike[str], *, colour: Colour = "bgr") -> None:
        self.extractor = source if isinstance(source, Extractor) else Extractor.load(source)
        self.colour = colour

    def __call__(self, frame: NDArray[np.uint8], boxes: ArrayLike) -> NDArray[np.float32]:
        """Describe boxes of a frame.

        Args:
            frame: (H, W, 3) uint8.
            boxes: (N, 4) left, top, right, bottom in pixels.
        Returns:
            (N, D) float32, each row of length 1: the cosine distance of two rows is half their squared distance.
        Raises:
            ValueError: see :func:`crosscam.data.crops.crop_boxes`.
        """
        return self.extractor.boxes(frame, boxes, self.colour)

    def extract_features(self, detections: Detections, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same for detections of supervision, as the package ``trackers`` asks for it."""
        return self(frame, detections.xyxy)
