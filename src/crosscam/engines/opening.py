"""Engines by name, for a run folder's network and for an exported file."""

from __future__ import annotations

import difflib
import hashlib
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import nn

from crosscam.engines.card import ModelCard, derived_fingerprint
from crosscam.engines.contract import Engine, Pixels, cache_folder, runtime
from crosscam.engines.graph import write_onnx
from crosscam.engines.onnx_engine import OnnxEngine, read_card
from crosscam.engines.openvino_engine import OpenVinoEngine, read_openvino_card
from crosscam.engines.quantise import quantise
from crosscam.engines.torch_engine import TorchEngine
from crosscam.errors import ArgumentError, EngineError, StorageError
from crosscam.system.cores import chip_has_bf16
from crosscam.system.files import copy_bytes, write_atomically

ENGINES = (
    "torch",
    "torch-bf16",
    "torch-compiled",
    "onnxruntime",
    "openvino",
    "openvino-bf16",
    "onnxruntime-int8",
    "openvino-int8",
)
EXPORTED_SUFFIXES = (".onnx", ".xml")


@dataclass(frozen=True, eq=False)
class Network:
    """What engines are made of.

    Attributes:
        model: a run folder's network in evaluation mode, on the CPU in fp32.
        card: its card.
        device: ``"cpu"``, ``"cuda"``, ...
        calibration: (N, H, W, 3) uint8 images for int8, at the model's input size; None for none.
        folder: its run folder, where what is found out about it is kept; None without one.
    """

    model: nn.Module
    card: ModelCard
    device: str = "cpu"
    calibration: Pixels | None = None
    folder: Path | None = None


def check_name(name: str) -> None:
    """Refuse an engine that does not exist.

    Raises:
        ValueError: with the nearest name.
    """
    if name not in ("auto", *ENGINES):
        near = difflib.get_close_matches(name, ENGINES, 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ArgumentError(f"Unknown engine {name!r}. {hint}Known: auto, {', '.join(ENGINES)}.")


def candidates(device: str, *, int8: bool) -> list[str]:
    """Names of the engines that can run here, those of fp32 first; compiling takes minutes and is left out."""
    found = ["torch"]
    bf16 = chip_has_bf16(device)
    if bf16:
        found.append("torch-bf16")
    if device != "cpu" or find_spec("onnx") is None:
        return found
    has_ort, has_openvino = (find_spec(m) is not None for m in ("onnxruntime", "openvino"))
    found += ["onnxruntime"] * has_ort + ["openvino"] * has_openvino
    found += ["openvino-bf16"] * (has_openvino and bf16)
    if int8 and has_ort:
        found += ["onnxruntime-int8"] + ["openvino-int8"] * has_openvino
    return found


def open_engine(name: str, network: Network) -> Engine:
    """The engine of that name for a network.

    Raises:
        ValueError: no such engine.
        EngineError: it cannot run here, or int8 without images to calibrate on.
    """
    check_name(name)
    model, card, device = network.model, network.card, network.device
    if name.startswith("torch"):
        bf16 = name == "torch-bf16" or (name == "torch-compiled" and chip_has_bf16(device))
        compiled = name == "torch-compiled"
        return TorchEngine(model, card.size, flip=card.flip, device=device, bf16=bf16, compiled=compiled)
    if device != "cpu":
        raise EngineError(f"Engine {name} runs on the CPU; the device is {device}. Take engine 'torch' there.")
    if not name.endswith("-int8"):
        return _kept(f"{card.fingerprint}-fp32.onnx", lambda path: write_fp32(network, path), _opener(name))
    if network.calibration is None or not len(network.calibration):
        raise EngineError(f"Engine {name} needs images to calibrate on: Extractor.load(..., calibration=[paths]).")
    digest = hashlib.sha256(network.calibration.tobytes()).hexdigest()[:16]
    return _kept(f"{card.fingerprint}-int8-{digest}.onnx", lambda path: write_int8(network, path), _opener(name))


def _opener(name: str) -> Callable[[Path], Engine]:
    runtime_name, _, precision = name.partition("-")
    if runtime_name == "onnxruntime":
        return lambda path: OnnxEngine(path, name=name)
    # Beside int8 convolutions the rest may as well be bf16.
    bf16 = precision == "bf16" or (precision == "int8" and chip_has_bf16("cpu"))
    return lambda path: OpenVinoEngine(path, bf16=bf16, name=name)


def write_fp32(network: Network, path: Path, batch: int | None = None) -> None:
    """Write the graph of a network.

    Raises:
        EngineError: onnx is not installed, or the network holds a step that ONNX does not have.
    """
    runtime("onnx")
    height, width = network.card.size
    try:
        write_onnx(network.model, path, height, width, flip=network.card.flip, batch=batch)
    except Exception as error:  # the exporter raises classes of its own
        raise EngineError(
            f"The network of recipe {network.card.recipe.name} cannot be written as ONNX ({type(error).__name__}). "
            "Take engine 'torch'."
        ) from error


def write_int8(network: Network, path: Path, batch: int | None = None) -> None:
    """Write the int8 graph of a network, calibrated on its images.

    Raises:
        EngineError: see :func:`write_fp32`.
    """
    assert network.calibration is not None
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "fp32.onnx"
        write_fp32(network, plain, batch)
        quantise(plain, path, network.calibration, batch)


def _kept(name: str, write: Callable[[Path], None], open_it: Callable[[Path], Engine]) -> Engine:
    """Open a graph that is kept in the cache folder, and written there first if it is not."""
    path = cache_folder() / "graphs" / name
    if path.is_file():
        with suppress(EngineError):
            return open_it(path)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / name
        write(temporary)
        # Without a cache folder that can be written, the graph is made again next time.
        with suppress(StorageError):
            write_atomically(path, lambda beside: copy_bytes(temporary, beside))
            return open_it(path)
        return open_it(temporary)


def int8_fingerprint(card: ModelCard, calibration: Pixels) -> str:
    """The fingerprint of a network's int8 engine, which depends on what it was calibrated on."""
    return derived_fingerprint(card.fingerprint, b"int8" + hashlib.sha256(calibration.tobytes()).digest())


def is_exported(path: Path) -> bool:
    """Whether a path is a file of 'crosscam export' by its name."""
    return path.suffix.lower() in EXPORTED_SUFFIXES


def open_exported(path: Path, name: str, device: str = "cpu") -> tuple[Engine, ModelCard]:
    """An exported file and its card.

    Args:
        path: .onnx or .xml.
        name: ``"onnxruntime"``, ``"openvino"``, ``"openvino-bf16"``, or ``"auto"``: the first that is installed, for an
            .onnx ONNX Runtime.
        device: ``"cuda"`` is for ONNX Runtime alone.
    Raises:
        EngineError: no such file, damaged, not crosscam's, or the engine does not take it.
    """
    check_name(name)
    if not path.is_file():
        raise EngineError(f"No file {path}. Give a run folder, or a file of 'crosscam export'.")
    is_onnx = path.suffix.lower() == ".onnx"
    if name == "auto":
        name = "onnxruntime" if is_onnx and find_spec("onnxruntime") else "openvino"
    if name.startswith("torch") or name.endswith("-int8") or (name == "onnxruntime" and not is_onnx):
        fitting = "onnxruntime, openvino or openvino-bf16" if is_onnx else "openvino or openvino-bf16"
        raise EngineError(f"Engine {name} does not run {path.name}. Take {fitting}; a file's precision is its own.")
    card = read_card(path) if is_onnx else read_openvino_card(path)
    if name == "onnxruntime":
        return OnnxEngine(path, device=device), card
    return OpenVinoEngine(path, bf16=name == "openvino-bf16", name=name), card
