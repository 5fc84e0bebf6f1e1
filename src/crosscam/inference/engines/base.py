"""What an engine is, and what all of them share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crosscam.errors import EngineError
from crosscam.system.cores import available_cores

Pixels = NDArray[np.uint8]
Descriptors = NDArray[np.float32]


class Engine(Protocol):
    """Runs one model on one kind of runtime."""

    @property
    def name(self) -> str:
        """As :func:`crosscam.Extractor.load` takes it."""

    def __call__(self, pixels: Pixels) -> Descriptors:
        """(B, H, W, 3) uint8 RGB at the model's input size -> (B, D) float32, each row of length 1."""


def runtime(module: str) -> ModuleType:
    """An optional runtime, imported when it is needed.

    ONNX Runtime reports its use to its maker over the network, through a file in the user's cache folder and a thread.
    Only a variable that is set before its import turns that off; crosscam sets it, unless the user did.

    Raises:
        EngineError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise EngineError(f"This needs {package}, which is not installed: pip install 'crosscam[export]'.") from error


def num_threads() -> int:
    """Threads that an engine may use: what OMP_NUM_THREADS says, or one for each core of this process."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isascii() and stated.isdigit() and len(stated) < 5 and int(stated) > 0:
        return int(stated)
    return available_cores()


def in_batches_of(size: int | None, run: Callable[[Pixels], Descriptors], pixels: Pixels) -> Descriptors:
    """Run a model that takes a fixed number of images; the last batch is filled up, and the filling cut off.

    Without images, (0, D).
    """
    if not len(pixels):
        # The runtimes refuse empty batches; one black image tells the length of a descriptor.
        return in_batches_of(size, run, np.zeros((1, *pixels.shape[1:]), np.uint8))[:0]
    if size is None or len(pixels) == size:
        found = run(pixels)
        if len(found) != len(pixels):
            raise EngineError(
                f"The graph gives {len(found)} descriptors for {len(pixels)} images. Export it again, or take "
                "--engine torch."
            )
        return found
    rows = []
    for start in range(0, len(pixels), size):
        batch = pixels[start : start + size]
        filled = np.concatenate((batch, np.zeros((size - len(batch), *batch.shape[1:]), np.uint8)))
        rows.append(run(filled)[: len(batch)])
    return np.concatenate(rows)


def cache_folder() -> Path:
    """Where graphs and measurements are kept for the next time: CROSSCAM_CACHE, or the user's cache folder."""
    stated = os.environ.get("CROSSCAM_CACHE")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crosscam"
