"""Appearance features for trackers: boxes of a frame in, descriptors out. No tracker is imported."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam.data.crops import Color, HasBoxes, crop_boxes, earlier_spelling
from crosscam.errors import ArgumentError
from crosscam.inference.extractor import Extractor


class TrackerFeatures:
    """An extractor in the shapes that trackers call.

    - ``extract_features(detections, frame)`` is what Roboflow's ``trackers`` calls;
    - ``extract_embeddings(detections, frame)`` is the call of its ``reid``;
    - ``get_features(xyxys, img)`` is the call of BoxMOT;
    - ``predict(crops)`` is what ``deep-sort-realtime`` calls;
    - ``features(frame, boxes)`` is for norfair, and for trackers of one's own.

    >>> features = TrackerFeatures("runs/demo/model.onnx")  # doctest: +SKIP
    >>> features(frame, boxes).shape  # doctest: +SKIP
    (7, 1024)

    Args:
        source: an extractor, a run folder, a shipped network's name, or an exported file.
        color: order of the frames' channels; OpenCV, and most trackers with it, have ``"bgr"``.
    Raises:
        ValueError: another order of channels.
    """

    @earlier_spelling
    def __init__(self, source: Extractor | str | os.PathLike[str], *, color: Color = "bgr") -> None:
        if color not in ("rgb", "bgr"):
            raise ArgumentError(f"Unknown color {color!r}. Known: rgb, bgr.")
        self.extractor = source if isinstance(source, Extractor) else Extractor.load(source)
        self.color = color

    def __repr__(self) -> str:
        return f"TrackerFeatures({self.extractor!r}, {self.color})"

    def __call__(self, frame: NDArray[np.uint8], boxes: ArrayLike | HasBoxes) -> NDArray[np.float32]:
        """Describe boxes of a frame.

        Args:
            frame: (H, W, 3) uint8.
            boxes: (N, 4) left, top, right, bottom in pixels, or detections that hold them as ``xyxy``.
        Returns:
            (N, D) float32, each row of length 1: the cosine distance of two rows is half their squared distance.
        Raises:
            ValueError: see :func:`crosscam.data.crops.crop_boxes`.
        """
        return self.extractor.boxes(frame, boxes, self.color)

    def extract_features(self, detections: HasBoxes, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, D) descriptors of detections; what the package ``trackers`` calls for its argument ``reid_model``."""
        return self(frame, detections)

    def extract_embeddings(
        self, detections: HasBoxes, frame: NDArray[np.uint8], *, batch_size: int | None = None
    ) -> NDArray[np.float32]:
        """(N, D) descriptors of detections; the call of the package ``reid``.

        Args:
            detections: their ``xyxy`` is (N, 4) left, top, right, bottom in pixels.
            frame: (H, W, 3) uint8.
            batch_size: people at once; see :class:`crosscam.Extractor`.
        """
        return self.extractor(crop_boxes(frame, detections, self.color), batch_size)

    def get_features(self, xyxys: ArrayLike, img: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, D) descriptors of boxes; the call of BoxMOT.

        Args:
            xyxys: (N, 4) or more columns, of which the first four are left, top, right, bottom in pixels.
            img: (H, W, 3) uint8.
        """
        boxes = np.asarray(xyxys)
        return self(img, boxes[:, :4] if boxes.ndim == 2 else boxes)

    def predict(self, crops: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """N descriptors (D,) of people who are cut out already; what deep-sort-realtime calls for its ``embedder``.

        Args:
            crops: N arrays (H, W, 3) uint8, in the order of channels that ``color`` states.
        Raises:
            ValueError: a crop that holds no pixel, or is not such an array.
        """
        turned = self.color == "bgr"
        # Anything but an array is refused with the other images.
        images = [crop[..., ::-1] if turned and isinstance(crop, np.ndarray) else crop for crop in crops]
        return list(self.extractor(images))
