"""ONNX Runtime as an engine, and the card inside an ONNX file; int8, with ranges from the user's own images.

ONNX Runtime's static quantization writes an int8 graph: convolutions with 8-bit weights and feature maps. Either
runtime runs it; ``docs/log.md``: what else was tried.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from crosscam.errors import EngineError
from crosscam.inference.engines.base import (
    Descriptors,
    ModelCard,
    Pixels,
    card_from_texts,
    card_to_texts,
    in_batches_of,
    num_threads,
    runtime,
)
from crosscam.inference.engines.graph import INPUT
from crosscam.system.text import is_unicode, reason_of


class OnnxEngine:
    """An exported file on ONNX Runtime.

    Args:
        path: the .onnx file.
        device: ``"cuda"`` takes ONNX Runtime's CUDA provider if it has one.
        name: how the engine is called.
    Raises:
        EngineError: ONNX Runtime is not installed, or the file is damaged.
    """

    def __init__(self, path: Path, *, device: str = "cpu", name: str = "onnxruntime") -> None:
        self.name = name
        self._session: Any = open_session(path, device)
        batch = self._session.get_inputs()[0].shape[0]
        self._batch = batch if isinstance(batch, int) else None

    def __call__(self, pixels: Pixels) -> Descriptors:
        """See :class:`crosscam.inference.engines.base.Engine`."""
        return in_batches_of(self._batch, self._describe, pixels)

    def _describe(self, pixels: Pixels) -> Descriptors:
        found: Descriptors = self._session.run(None, {INPUT: np.ascontiguousarray(pixels)})[0]
        return found


def open_session(path: Path, device: str) -> Any:
    """ONNX Runtime's session of a file.

    Args:
        path: the .onnx file.
        device: ``"cuda"`` takes ONNX Runtime's CUDA provider if it has one.
    Raises:
        EngineError: ONNX Runtime is not installed, or the file is damaged.
    """
    ort = runtime("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads()
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    providers = [p for p in [*wanted, "CPUExecutionProvider"] if p in ort.get_available_providers()]
    return opened(path, lambda: ort.InferenceSession(_openable(path), options, providers=providers))


def _openable(path: Path) -> str | bytes:
    """What ONNX Runtime opens: it takes no path that is not UTF-8, but bytes."""
    return os.fspath(path) if is_unicode(path) else path.read_bytes()


def opened(path: Path, open_it: Callable[[], Any]) -> Any:
    """What ``open_it`` gives; whatever it raises becomes one line about the file.

    Raises:
        EngineError: the runtime cannot open it.
    """
    try:
        return open_it()
    except Exception as error:  # the runtimes raise classes of their own
        reason = reason_of(error)[:200]
        raise EngineError(f"{path} cannot be opened ({reason}). Export it again, or copy the file again.") from error


def write_card(path: Path, card: ModelCard) -> None:
    """Put a card into an ONNX file, in the place of one that is there."""
    onnx = runtime("onnx")
    model = onnx.load(os.fspath(path))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, card_to_texts(card))
    model.producer_name, model.producer_version = "crosscam", card.version
    onnx.save(model, os.fspath(path))


def read_card(path: Path) -> ModelCard:
    """The card of an ONNX file (EngineError: the file is damaged, or crosscam did not write it)."""
    if find_spec("onnxruntime") is None:
        onnx = runtime("onnx")
        model = opened(path, lambda: onnx.load(os.fspath(path)))
        return card_from_texts({p.key: p.value for p in model.metadata_props}, str(path))
    ort = runtime("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = opened(path, lambda: ort.InferenceSession(_openable(path), options, providers=providers))
    return card_from_texts(session.get_modelmeta().custom_metadata_map, str(path))


INT8_IMAGES = 128
AGREEMENT = 0.95
INT8_COSINE = 0.98
MEASURED_IMAGES = 32


def quantize(source: Path, target: Path, images: Pixels, batch: int | None = None) -> None:
    """Write an int8 copy of an exported fp32 graph.

    Weights have a range for each output channel, feature maps one for each tensor; other layers stay fp32. Weights are
    rounded to seven bits: without instructions for int8, processors add products in pairs of 16 bits, which eight and
    eight bits overflow. So descriptors are the same on all processors.

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
            reduce_range=True,
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
    """The quantizer advises on the root logger, which is the application's own."""

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
