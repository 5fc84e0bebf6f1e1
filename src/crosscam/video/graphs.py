"""Detectors in files: YOLOX and SSD graphs, run by OpenVINO, which opens .onnx, .xml, .pb and .tflite."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosscam.errors import EngineError
from crosscam.inference.engines.base import num_threads
from crosscam.inference.engines.onnx_engine import opened
from crosscam.inference.engines.openvino_engine import compile_graph, openvino_core
from crosscam.video.detections import NOTHING, Detections, Floats, Pixels, suppress
from crosscam.video.tiles import look_at, windows_of

Kind = Literal["yolox", "ssd", "tensorflow"]
# What trackers with two thresholds still use.
LEAST_SCORE = 0.1
MOST_IOU = 0.45
STRIDES = (8, 16, 32)
# YOLOX pads frames with this gray, at the right and at the bottom.
PADDING = 114
YOLOX_PERSON, TENSORFLOW_PERSON = 0, 1
# Such graphs take any size and shrink it to this one, slowly.
TENSORFLOW_SIZE = (300, 300)
# They learned photographs of COCO, most of which are 4:3; in a wider frame, squeezed to a square, people are too thin.
TENSORFLOW_SHAPE = 4 / 3
# OpenVINO's person-detection-* call a person 0 or 1.
SSD_PERSON = (0, 1)


class GraphDetector:
    """A person detector in a file.

    Args:
        path: one of
            YOLOX (input (1, 3, H, W) BGR in 0 to 255, letter-boxed; output (1, N, 5 + classes), class 0 is a person);
            SSD as in OpenVINO's ``person-detection-*`` (input (1, 3, H, W) BGR; output (1, 1, N, 7)); or
            a graph of TensorFlow's object detection (input (1, H, W, 3) uint8 RGB; outputs detection_boxes,
            detection_scores, detection_classes, of which 1 is a person), which looks at a wide frame in two or more
            windows.
    Raises:
        EngineError: no such file, OpenVINO is not installed, or the graph is of another form.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise EngineError(f"No detector at {path}. Expected a file such as yolox_nano.onnx.")
        core = openvino_core()
        self.path = path
        model = opened(path, lambda: core.read_model(os.fspath(path)))
        self.kind: Kind = _kind_of(model, path)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": num_threads()}
        settings["INFERENCE_PRECISION_HINT"] = "f32"
        self._turn = threading.Lock()  # several cameras share a detector, which works on one frame at a time
        self._model: Any = opened(path, lambda: compile_graph(model, settings))

    def __repr__(self) -> str:
        return f"GraphDetector({str(self.path)!r}, {self.kind})"

    def __call__(self, frame: Pixels) -> Detections:
        """People in a frame (H, W, 3) uint8 RGB, with scores of ``LEAST_SCORE`` and more."""
        with self._turn:
            if self.kind == "yolox":
                return self._yolox(frame)
            if self.kind == "ssd":
                return self._ssd(frame)
            return look_at(self._tensorflow, frame, windows_of(frame, TENSORFLOW_SHAPE))

    def _input_size(self) -> tuple[int, int]:
        """Height and width of the graph's images."""
        shape = self._model.input(0).shape
        return int(shape[2]), int(shape[3])

    def _yolox(self, frame: Pixels) -> Detections:
        height, width = self._input_size()
        scale = min(height / frame.shape[0], width / frame.shape[1])
        rows, columns = max(1, int(frame.shape[0] * scale)), max(1, int(frame.shape[1] * scale))
        canvas = np.full((height, width, 3), PADDING, np.uint8)
        canvas[:rows, :columns] = _resized(frame, rows, columns)
        output = self._model([_channels_first(canvas)])[0][0].astype(np.float64)
        found = read_yolox(output, height, width)
        return _clipped(Detections(found.boxes / scale, found.scores), frame)

    def _ssd(self, frame: Pixels) -> Detections:
        height, width = self._input_size()
        rows = self._model([_channels_first(_resized(frame, height, width))])[0].reshape(-1, 7).astype(np.float64)
        ended = np.flatnonzero(rows[:, 0] < 0)  # a row of image -1 ends the list
        rows = rows[: ended[0]] if len(ended) else rows
        rows = rows[np.isin(rows[:, 1], SSD_PERSON) & (rows[:, 2] >= LEAST_SCORE)]
        return _clipped(Detections(rows[:, 3:7] * _sides(frame), rows[:, 2]), frame)

    def _tensorflow(self, frame: Pixels) -> Detections:
        found = self._model([_resized(frame, *TENSORFLOW_SIZE)[None]])
        boxes, scores, classes = (_named(found, f"detection_{n}") for n in ("boxes", "scores", "classes"))
        people = (np.round(classes[0]) == TENSORFLOW_PERSON) & (scores[0] >= LEAST_SCORE)
        corners = boxes[0][people][:, [1, 0, 3, 2]].astype(np.float64)
        return _clipped(Detections(corners * _sides(frame), scores[0][people].astype(np.float64)), frame)


def read_yolox(output: Floats, height: int, width: int) -> Detections:
    """People in the output of a YOLOX graph.

    Args:
        output: (N, 5 + classes) center, size, objectness, classes; in pixels, or, as the published files give them,
            relative to the cell, the sizes as logarithms.
        height, width: of the graph's image.
    Returns:
        Boxes in pixels of the graph's image, non-maxima suppressed.
    Raises:
        EngineError: rows that fit neither form.
    """
    boxes = output[:, :4]
    if (boxes[:, 2:] < 0).any():  # sizes are positive, their logarithms hardly all
        cells, strides = _cells(height, width)
        if len(cells) != len(output):
            raise EngineError(
                f"A YOLOX graph of {height} x {width} has {len(cells)} rows; this one gave {len(output)}. Expected "
                "one of strides 8, 16 and 32."
            )
        boxes = np.concatenate(((boxes[:, :2] + cells) * strides, np.exp(boxes[:, 2:]) * strides), axis=1)
    scores = output[:, 4] * output[:, 5 + YOLOX_PERSON]
    likely = scores >= LEAST_SCORE
    if not likely.any():
        return NOTHING
    centers, halves = boxes[likely, :2], boxes[likely, 2:] / 2
    return suppress(Detections(np.concatenate((centers - halves, centers + halves), axis=1), scores[likely]), MOST_IOU)


def _cells(height: int, width: int) -> tuple[Floats, Floats]:
    """(N, 2) places of the cells and (N, 1) their strides, in the order of YOLOX's rows."""
    places, strides = [], []
    for stride in STRIDES:
        y, x = np.meshgrid(np.arange(height // stride), np.arange(width // stride), indexing="ij")
        places.append(np.stack((x, y), axis=2).reshape(-1, 2))
        strides.append(np.full((len(places[-1]), 1), stride))
    return np.concatenate(places).astype(np.float64), np.concatenate(strides).astype(np.float64)


def _kind_of(model: Any, path: Path) -> Kind:
    names = {name.partition(":")[0] for output in model.outputs for name in output.get_names()}
    shapes = [_lengths(output.partial_shape) for output in model.outputs]
    image = _lengths(model.inputs[0].partial_shape)
    first = image[1:2] == [3] and None not in image[2:] and len(image) == 4
    if {"detection_boxes", "detection_scores", "detection_classes"} <= names:
        return "tensorflow"
    if first and len(shapes[0]) == 4 and shapes[0][-1] == 7:
        return "ssd"
    if first and len(shapes) == 1 and len(shapes[0]) == 3 and (shapes[0][-1] or 0) >= 6:
        return "yolox"
    raise EngineError(
        f"{path} is not a detector that crosscam knows: input {image}, outputs {shapes}. Expected YOLOX (1, N, 85), "
        "SSD (1, 1, N, 7), or detection_boxes, detection_scores and detection_classes. Give another one as a Python "
        "function: --detector MODULE:FUNCTION."
    )


def _lengths(shape: Any) -> list[int | None]:
    """The sides of a shape, None where one is open."""
    if shape.rank.is_dynamic:
        return []
    return [side.get_length() if side.is_static else None for side in shape]


def _named(found: Any, name: str) -> NDArray[np.float32]:
    """An output by its name."""
    for output, values in found.items():
        if any(known.partition(":")[0] == name for known in output.get_names()):
            result: NDArray[np.float32] = values
            return result
    raise AssertionError(name)


def _resized(frame: Pixels, rows: int, columns: int) -> Pixels:
    """Bilinear without smoothing, as OpenCV and TensorFlow shrink images: what these networks were trained on."""
    scale = (frame.shape[1] / columns, 0, 0, 0, frame.shape[0] / rows, 0)
    image = Image.fromarray(frame).transform((columns, rows), Image.Transform.AFFINE, scale, Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def _channels_first(image: Pixels) -> NDArray[np.float32]:
    """(1, 3, H, W) float32 BGR of (H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)[None], dtype=np.float32)


def _sides(frame: Pixels) -> Sequence[int]:
    height, width = frame.shape[:2]
    return width, height, width, height


def _clipped(found: Detections, frame: Pixels) -> Detections:
    """Boxes without what reaches over the frame's edge."""
    return Detections(np.clip(found.boxes, 0, _sides(frame)), found.scores)
