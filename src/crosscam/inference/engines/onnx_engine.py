"""ONNX Runtime as an engine, and the card inside an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from crosscam.errors import EngineError
from crosscam.inference.engines.base import Descriptors, Pixels, in_batches_of, num_threads, runtime
from crosscam.inference.engines.card import ModelCard, card_from_texts, card_to_texts
from crosscam.inference.engines.graph import INPUT
from crosscam.system.text import is_unicode


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
        reason = " ".join(str(error).split())[:200]
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
    """The card of an ONNX file.

    Raises:
        EngineError: the file is damaged, or crosscam did not write it.
    """
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
