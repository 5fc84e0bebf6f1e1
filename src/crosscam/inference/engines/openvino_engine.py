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
        self._model: Any = opened(path, lambda: core.compile_model(os.fspath(path), "CPU", settings))
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
