"""Engines by name, for a run folder's network and for an exported file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

from crosscam.engines.card import ModelCard, derived_fingerprint
from crosscam.engines.contract import Engine, Pixels, cache_folder, runtime
from crosscam.engines.graph import write_onnx
from crosscam.engines.onnx_engine import OnnxEngine, read_card, write_card
from crosscam.engines.openvino_engine import OpenVinoEngine, read_openvino_card
from crosscam.engines.quantise import INT8_COSINE, MEASURED_IMAGES, quantise
from crosscam.engines.seal import is_sealed, refuse_changed, seal
from crosscam.engines.torch_engine import TorchEngine, chip_has_bf16
from crosscam.errors import ArgumentError, EngineError, StorageError
from crosscam.system.files import copy_bytes, write_atomically
from crosscam.system.names import did_you_mean

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
        raise ArgumentError(f"Unknown engine {name!r}. {did_you_mean(name, ENGINES)}Known: auto, {', '.join(ENGINES)}.")


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
    _refuse_unsound(network)
    if not name.endswith("-int8"):
        return _kept(f"{card.fingerprint}-fp32.onnx", card, lambda path: write_fp32(network, path), _opener(name))
    if network.calibration is None or not len(network.calibration):
        raise EngineError(f"Engine {name} needs images to calibrate on: Extractor.load(..., calibration=[paths]).")
    digest = hashlib.sha256(network.calibration.tobytes()).hexdigest()[:16]
    file = f"{card.fingerprint}-int8-{digest}.onnx"
    engine = _kept(file, card, lambda path: write_int8(network, path), _opener(name))
    _refuse_unlike(engine, network)
    return engine


def _refuse_unsound(network: Network) -> None:
    """Refuse weights that are not finite: some runtimes take them for zeros, and give descriptors like any others."""
    for name, value in network.model.state_dict().items():
        if not torch.isfinite(value).all():
            raise EngineError(
                f"The weights {name} of {network.card.recipe.name} are not finite. A training that went astray, or a "
                "damaged file, has such numbers. Train again, or copy the file again."
            )


def _refuse_unlike(engine: Engine, network: Network) -> None:
    """Compare an int8 engine with the network, on some of the images that it was calibrated on.

    On processors without instructions for it, sums of int8 products may saturate, and single descriptors are far off.
    """
    assert network.calibration is not None
    pixels = network.calibration[:MEASURED_IMAGES]
    expected = TorchEngine(network.model, network.card.size, flip=network.card.flip)(pixels)
    cosines = (engine(pixels) * expected).sum(axis=1)
    # A network that gives no descriptors is refused by the picture's name, whatever runs it.
    if expected.any(axis=1).all() and not cosines.min() >= INT8_COSINE:
        raise EngineError(
            f"Engine {engine.name} does not give what the network gives on this processor: of {len(pixels)} pictures "
            f"that it was calibrated on, the smallest cosine is {cosines.min():.3f}, expected at least {INT8_COSINE} "
            f"(median {np.median(cosines):.3f}). Take another engine, or 'auto'."
        )


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
        try:
            quantise(plain, path, network.calibration, batch)
        except (AssertionError, ValueError) as error:  # what the quantiser makes of ranges that are not finite
            raise EngineError(
                f"The network of recipe {network.card.recipe.name} cannot be written in int8 ({error}). Look at the "
                "weights: a training that went astray, or a damaged file, gives such ranges."
            ) from error


def _kept(name: str, card: ModelCard, write: Callable[[Path], None], open_it: Callable[[Path], Engine]) -> Engine:
    """Open a graph that is kept in the cache folder, and written there first if it is not, or is damaged."""
    path = cache_folder() / "graphs" / name
    with suppress(EngineError, OSError):
        if is_sealed(path):
            return open_it(path)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / name
        write(temporary)
        write_card(temporary, card)
        seal(temporary)
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
    refuse_changed(path)
    card = read_card(path) if is_onnx else read_openvino_card(path)
    if name == "onnxruntime":
        return OnnxEngine(path, device=device), card
    return OpenVinoEngine(path, bf16=name == "openvino-bf16", name=name), card
