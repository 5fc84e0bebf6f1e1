"""int8: convolutions with 8-bit weights and feature maps, their ranges taken from the user's own images.

ONNX Runtime's static quantisation writes the graph, and either runtime runs it; ``docs/log.md``: what else was tried.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crosscam.inference.engines.base import Descriptors, Pixels, runtime
from crosscam.inference.engines.graph import INPUT

INT8_IMAGES = 128
AGREEMENT = 0.95
INT8_COSINE = 0.98
MEASURED_IMAGES = 32


def quantize(source: Path, target: Path, images: Pixels, batch: int | None = None) -> None:
    """Write an int8 copy of an exported fp32 graph.

    Weights have a range for each output channel, feature maps one for each tensor; what is no convolution stays fp32.

    Args:
        source: the fp32 .onnx file.
        target: the file to write.
        images: (N, H, W, 3) uint8 at the model's input size, what the model will see; about 128 do.
        batch: images that the file takes at once; None if any number.
    """
    quantization = runtime("onnxruntime.quantization")
    shape_inference = runtime("onnxruntime.quantization.shape_inference")
    steps = batches_of(images, batch)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, Pixels] | None:
            return next(({INPUT: part} for part in steps), None)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = os.path.join(folder, "prepared.onnx")
        shape_inference.quant_pre_process(os.fspath(source), prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            os.fspath(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )


def batches_of(images: Pixels, batch: int | None) -> Iterator[Pixels]:
    """The images in batches that the graph takes; for a fixed batch the last is filled up with the first images."""
    size = batch or 8
    for start in range(0, len(images), size):
        part = images[start : start + size]
        if batch and len(part) < batch:
            part = np.concatenate((part, np.resize(images, (batch - len(part), *images.shape[1:]))))
        yield part


class _quiet:
    """The quantiser advises on the root logger, which is the application's own."""

    def __enter__(self) -> None:
        self.before = logging.root.level
        logging.root.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.root.setLevel(self.before)


def neighbor_agreement(expected: Descriptors, found: Descriptors) -> float:
    """Share of the rows whose nearest other row is the same in both, for (N, D) descriptors; 1 below three rows."""
    if len(expected) < 3:
        return 1.0
    nearest = []
    for rows in (expected, found):
        similarity = rows @ rows.T
        np.fill_diagonal(similarity, -np.inf)
        nearest.append(similarity.argmax(axis=1))
    return float((nearest[0] == nearest[1]).mean())
