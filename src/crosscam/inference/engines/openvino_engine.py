"""OpenVINO as an engine, its own file format, and the card inside."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from crosscam.inference.engines.base import (
    PREFIX,
    Descriptors,
    ModelCard,
    Pixels,
    card_from_texts,
    card_to_texts,
    in_batches_of,
    num_threads,
    runtime,
)
from crosscam.inference.engines.onnx_engine import opened

_CORES: dict[int, Any] = {}
_LOCK = threading.Lock()
# Multiples of it are right as they are.
_CHANNELS = 16


def openvino_core() -> Any:
    """OpenVINO's ``Core``, one for each process, kept to its end.

    Each Core gives its thread a stack for signals of its own and frees it when it goes, so a second one that outlives
    the first leaves a freed stack behind: the next signal with a handler, say of a data loader's process that ends,
    is then a segmentation fault. A Core that is never freed leaves nothing.

    Raises:
        EngineError: OpenVINO is not installed.
    """
    with _LOCK:
        here = os.getpid()  # a forked child gets one of its own: the threads of its parent's are not there
        if here not in _CORES:
            _CORES[here] = runtime("openvino").Core()
        return _CORES[here]


def settings_for(bf16: bool) -> dict[str, Any]:
    """How OpenVINO runs a network on the CPU; feature maps may be bf16, where the chip has it."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }


def compile_graph(model: Any, settings: dict[str, Any]) -> Any:
    """A graph, ready to run on the CPU; the one way in, for networks of crosscam, of others, and detectors.

    In networks of 8 bits, 1 x 1 convolutions with a stride are given every other pixel first, and none of their own.
    With 8 channels more than a multiple of 16, OpenVINO 2026.4 gives other rows now and then when several threads run
    them on a chip without AVX-512 (``benchmarks/int8_threads.py``): at the place where the next thread's images begin.
    """
    ops = model.get_ordered_ops()
    if any(node.get_type_name() == "FakeQuantize" for node in ops):
        for node in ops:
            if node.get_type_name() == "Convolution" and _is_strided_point(node):
                _stride_first(node)
    return openvino_core().compile_model(model, "CPU", settings)


def _is_strided_point(convolution: Any) -> bool:
    settings, kernel = convolution.get_attributes(), convolution.input(1).get_partial_shape()
    sides = [kernel[i].get_length() for i in range(2, len(kernel)) if kernel[i].is_static]
    pads = [*settings["pads_begin"], *settings["pads_end"]]
    whole = kernel[1].is_static and kernel[1].get_length() % _CHANNELS == 0
    return sides == [1, 1] and max(settings["strides"]) > 1 and not any(pads) and not whole


def _stride_first(convolution: Any) -> None:
    operations, settings = runtime("openvino").opset13, convolution.get_attributes()
    begin, every = np.zeros(4, np.int64), np.array([1, 1, *settings["strides"]], np.int64)
    pixels = operations.strided_slice(convolution.input_value(0), begin, begin, every, [1] * 4, [1] * 4)
    point = operations.convolution(pixels, convolution.input_value(1), [1, 1], [0, 0], [0, 0], [1, 1])
    point.set_friendly_name(convolution.get_friendly_name())
    point.output(0).get_tensor().set_names(convolution.output(0).get_tensor().get_names())
    for target in convolution.output(0).get_target_inputs():
        target.replace_source_output(point.output(0))


class OpenVinoEngine:
    """An exported file on OpenVINO; it takes .onnx and .xml alike.

    Args:
        path: the file; beside an .xml stands its .bin.
        bf16: whether feature maps may be bf16, where the chip has it.
        name: how the engine is called.
    Raises:
        EngineError: OpenVINO is not installed, or the file is damaged.
    """

    def __init__(self, path: Path, *, bf16: bool = False, name: str = "openvino") -> None:
        self.name = name
        settings, core = settings_for(bf16), openvino_core()
        self._model: Any = opened(path, lambda: compile_graph(core.read_model(os.fspath(path)), settings))
        batch = self._model.input(0).partial_shape[0]
        self._batch = batch.get_length() if batch.is_static else None

    def __call__(self, pixels: Pixels) -> Descriptors:
        """See :class:`crosscam.inference.engines.base.Engine`."""
        return in_batches_of(self._batch, self._describe, pixels)

    def _describe(self, pixels: Pixels) -> Descriptors:
        # OpenVINO uses its result's memory again at the next call.
        return np.array(self._model([np.ascontiguousarray(pixels)])[0], dtype=np.float32)


def write_openvino(onnx_file: Path, path: Path, card: ModelCard) -> None:
    """Turn an ONNX file into OpenVINO's .xml and .bin, weights in full precision, with the card inside."""
    openvino = runtime("openvino")
    model = openvino_core().read_model(os.fspath(onnx_file))
    for name, text in card_to_texts(card).items():
        model.set_rt_info(text, ["crosscam", name.removeprefix(PREFIX)])
    openvino.save_model(model, os.fspath(path), compress_to_fp16=False)


def read_openvino_card(path: Path) -> ModelCard:
    """The card of an OpenVINO file (EngineError: the file is damaged, or crosscam did not write it)."""
    core = openvino_core()
    model = opened(path, lambda: core.read_model(os.fspath(path)))
    texts = {}
    if model.has_rt_info(["crosscam", "fingerprint"]):
        names = ("fingerprint", "layout", "recipe", "flip", "precision", "version", "checks")
        texts = {f"{PREFIX}{name}": str(model.get_rt_info(["crosscam", name]).astype(str)) for name in names}
    return card_from_texts(texts, str(path))
