"""A detector by what a user writes, and what tells it from another one."""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

from crosscam.errors import ArgumentError, CrosscamError, EngineError
from crosscam.video.detections import Detections, Detector, Pixels
from crosscam.video.graphs import GraphDetector
from crosscam.video.mot import MotDetections
from crosscam.video.person_detector import kept_detector

GRAPHS = (".onnx", ".xml", ".pb", ".tflite")


@runtime_checkable
class KnowsFrames(Protocol):
    """A detector whose answers are there already, by frame."""

    def of_frame(self, number: int) -> Detections:
        """People in a frame by number, counted from 0."""


def open_detector(text: str | None) -> Detector:
    """The detector that a user names.

    Args:
        text: a graph (.onnx, .xml, .pb, .tflite), a MOT ``det.txt``, or ``MODULE:FUNCTION`` of Python; None for the
            one that ``crosscam models get person-detector`` keeps.
    Raises:
        ArgumentError: none of these.
        EngineError: a graph that cannot be opened, or no detector is kept.
        DataError: a text file of another form.
    """
    if text is None:
        return GraphDetector(kept_detector())
    path = Path(text)
    if path.suffix.lower() in GRAPHS:
        return GraphDetector(path)
    if path.suffix.lower() in (".txt", ".csv"):
        return MotDetections(path)
    module, colon, name = text.rpartition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), name)):
        return _function(module, name)
    raise ArgumentError(
        f"--detector {text!r}: expected a YOLOX or SSD file ({', '.join(GRAPHS)}), a MOT det.txt, or MODULE:FUNCTION."
    )


def _function(module: str, name: str) -> Detector:
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"--detector {module}:{name} cannot be imported ({error}).") from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise ArgumentError(f"--detector {module}:{name} is not a function of a frame.")
    detector: Detector = found
    return detector if knows_frames(found) else _named(detector, f"{module}:{name}")


def _named(function: Detector, name: str) -> Detector:
    """The function of a user; where it fails, one line tells its name."""

    @functools.wraps(function)
    def call(frame: Pixels) -> Any:
        try:
            return function(frame)
        except CrosscamError:
            raise
        except Exception as error:  # of a function that we do not know
            raise EngineError(
                f"--detector {name} failed ({type(error).__name__}: {error}). --debug shows where."
            ) from error

    return call


def knows_frames(detector: object) -> TypeGuard[KnowsFrames]:
    """Whether a detector is asked by the number of a frame."""
    return isinstance(detector, KnowsFrames)


def identify_detector(detector: Detector) -> str:
    """A short text that changes with a file's content: the videos that it watched are its own."""
    if isinstance(detector, GraphDetector | MotDetections):
        digest = hashlib.sha256(detector.path.read_bytes()).hexdigest()[:8]
        return f"{detector.path.name} {digest}"
    kind = type(detector)
    name = getattr(detector, "__qualname__", kind.__qualname__)
    return f"{getattr(detector, '__module__', kind.__module__)}:{name}"
