"""The engines: one table, and how they are opened for a run folder's network and for an exported file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from crosscam.errors import ArgumentError, EngineError, StorageError
from crosscam.inference.engines.base import (
    Engine,
    ModelCard,
    Pixels,
    cache_folder,
    derived_fingerprint,
    is_sealed,
    refuse_changed,
    seal,
)
from crosscam.inference.engines.graph import Network, write_fp32
from crosscam.inference.engines.onnx_engine import (
    INT8_COSINE,
    MEASURED_IMAGES,
    OnnxEngine,
    quantize,
    read_card,
    write_card,
)
from crosscam.inference.engines.openvino_engine import OpenVinoEngine, read_openvino_card
from crosscam.inference.engines.torch_engine import TorchEngine
from crosscam.system.cores import chip_has_bf16
from crosscam.system.files import copy_bytes, write_atomically
from crosscam.system.text import did_you_mean


@dataclass(frozen=True)
class EngineSpec:
    """One engine. It takes the network itself, or the ONNX graph that is written of it.

    Attributes:
        name: as :func:`crosscam.Extractor.load` takes it.
        runtime: the package that runs the network.
        precision: of weights and feature maps; ``"best"``: bf16 where the chip has instructions for it, else fp32.
        open_network: opens an engine that takes the network.
        open_file: opens an engine that takes a file, for a device.
        suffixes: endings of the exported files that it runs.
        devices: of the networks that it runs; empty for all.
        measured: whether ``"auto"`` tries it.
    """

    name: str
    runtime: str
    precision: Literal["fp32", "bf16", "int8", "best"]
    open_network: Callable[[EngineSpec, Network], Engine] | None = None
    open_file: Callable[[EngineSpec, Path, str], Engine] | None = None
    suffixes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    measured: bool = True

    @property
    def is_installed(self) -> bool:
        """Whether its packages are there: the runtime, and what writes and quantizes the graph."""
        needed = [self.runtime]
        if self.open_file is not None:
            needed += ["onnx"] + ["onnxruntime"] * (self.precision == "int8")
        return all(find_spec(package) is not None for package in needed)

    def uses_bf16(self, device: str) -> bool:
        """Whether it computes in bf16 on a device; beside int8 convolutions the rest may as well be bf16."""
        return self.precision == "bf16" or (self.precision in ("best", "int8") and chip_has_bf16(device))


def _torch(spec: EngineSpec, network: Network, *, compiled: bool = False) -> Engine:
    card, device = network.card, network.device
    bf16 = spec.uses_bf16(device)
    return TorchEngine(
        network.model, card.size, name=spec.name, flip=card.flip, device=device, bf16=bf16, compiled=compiled
    )


def _onnxruntime(spec: EngineSpec, path: Path, device: str) -> Engine:
    return OnnxEngine(path, name=spec.name, device=device)


def _openvino(spec: EngineSpec, path: Path, device: str) -> Engine:
    del device  # it runs on the CPU
    return OpenVinoEngine(path, name=spec.name, bf16=spec.uses_bf16("cpu"))


# Which graphs this version writes: raised when a network is traced to another one, so that older cached ones are left.
GRAPHS = 2
_ONNX, _BOTH = (".onnx",), (".onnx", ".xml")
_COMPILED = partial(_torch, compiled=True)
# Those of fp32 first; compiling takes minutes, so that "auto" leaves it out.
_SPECS = (
    EngineSpec("torch", "torch", "fp32", open_network=_torch, devices=()),
    EngineSpec("torch-bf16", "torch", "bf16", open_network=_torch, devices=()),
    EngineSpec("torch-compiled", "torch", "best", open_network=_COMPILED, devices=(), measured=False),
    EngineSpec("onnxruntime", "onnxruntime", "fp32", open_file=_onnxruntime, suffixes=_ONNX),
    EngineSpec("openvino", "openvino", "fp32", open_file=_openvino, suffixes=_BOTH),
    EngineSpec("openvino-bf16", "openvino", "bf16", open_file=_openvino, suffixes=_BOTH),
    EngineSpec("onnxruntime-int8", "onnxruntime", "int8", open_file=_onnxruntime),
    EngineSpec("openvino-int8", "openvino", "int8", open_file=_openvino),
)
ENGINES = {spec.name: spec for spec in _SPECS}
_CARDS = {".onnx": read_card, ".xml": read_openvino_card}


def check_name(name: str) -> None:
    """Refuse an engine that does not exist (ValueError: with the nearest name)."""
    if name not in ("auto", *ENGINES):
        raise ArgumentError(f"Unknown engine {name!r}. {did_you_mean(name, ENGINES)}Known: auto, {', '.join(ENGINES)}.")


def is_int8(name: str) -> bool:
    """Whether an engine of that name takes its ranges from images."""
    return name in ENGINES and ENGINES[name].precision == "int8"


def candidates(device: str, *, int8: bool) -> list[str]:
    """Names of the engines that ``"auto"`` tries on a device, with those of int8 if there are images for it."""
    return [
        spec.name
        for spec in ENGINES.values()
        if spec.measured
        and spec.is_installed
        and (not spec.devices or device in spec.devices)
        and (spec.precision != "int8" or int8)
        and (spec.precision != "bf16" or chip_has_bf16(device))
    ]


def open_engine(name: str, network: Network) -> Engine:
    """The engine of that name for a network.

    Raises:
        ValueError: no such engine.
        EngineError: it cannot run here, or int8 without images.
    """
    check_name(name)
    spec, images, card = ENGINES[name], network.int8_images, network.card
    if spec.devices and network.device not in spec.devices:
        raise EngineError(f"Engine {name} runs on the CPU; the device is {network.device}. Take engine 'torch' there.")
    if spec.open_network is not None:
        return spec.open_network(spec, network)
    _refuse_unsound(network)
    if spec.precision != "int8":
        return _kept(f"{card.fingerprint}-fp32-{GRAPHS}.onnx", card, lambda path: write_fp32(network, path), spec)
    if images is None or not len(images):
        raise EngineError(f"Engine {name} takes its ranges from images: Extractor.load(..., int8_images=[paths]).")
    digest = hashlib.sha256(images.tobytes()).hexdigest()[:16]
    engine = _kept(
        f"{card.fingerprint}-int8-{GRAPHS}-{digest}.onnx", card, lambda path: write_int8(network, path), spec
    )
    _refuse_unlike(engine, network, images)
    return engine


def _refuse_unsound(network: Network) -> None:
    """Refuse weights that are not finite: some runtimes take them for zeros, and give descriptors like any others."""
    for name, value in network.model.state_dict().items():
        if not torch.isfinite(value).all():
            raise EngineError(
                f"The weights {name} of {network.card.recipe.name} are not finite. A training that went astray, or a "
                "damaged file, has such numbers. Train again, or copy the file again."
            )


def _refuse_unlike(engine: Engine, network: Network, images: Pixels) -> None:
    """Compare an int8 engine with the network, on some of the images that its ranges are taken from."""
    pixels = images[:MEASURED_IMAGES]
    expected = TorchEngine(network.model, network.card.size, flip=network.card.flip)(pixels)
    cosines = (engine(pixels) * expected).sum(axis=1)
    # A network that gives no descriptors is refused by the image's name, whatever runs it.
    if expected.any(axis=1).all() and not cosines.min() >= INT8_COSINE:
        raise EngineError(
            f"Engine {engine.name} does not give what the network gives on this processor: of {len(pixels)} images "
            f"that its ranges are taken from, the smallest cosine is {cosines.min():.3f}, expected at least "
            f"{INT8_COSINE} (median {np.median(cosines):.3f}). Take another engine, or 'auto'."
        )


def write_int8(network: Network, path: Path, batch: int | None = None) -> None:
    """Write the int8 graph of a network, with ranges from its images (EngineError: see :func:`write_fp32`)."""
    assert network.int8_images is not None
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "fp32.onnx"
        write_fp32(network, plain, batch)
        try:
            quantize(plain, path, network.int8_images, batch)
        except (AssertionError, ValueError) as error:  # what the quantizer makes of ranges that are not finite
            raise EngineError(
                f"The network of recipe {network.card.recipe.name} cannot be written in int8 ({error}). Look at the "
                "weights: a training that went astray, or a damaged file, gives such ranges."
            ) from error


def _kept(name: str, card: ModelCard, write: Callable[[Path], None], spec: EngineSpec) -> Engine:
    """Open a graph that is kept in the cache folder, and written there first if it is not, or is damaged."""
    opens = spec.open_file
    assert opens is not None
    path = cache_folder() / "graphs" / name
    with suppress(EngineError, OSError):
        if is_sealed(path):
            return opens(spec, path, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / name
        write(temporary)
        write_card(temporary, card)
        seal(temporary)
        # Without a cache folder that can be written, the graph is made again next time.
        with suppress(StorageError):
            write_atomically(path, lambda beside: copy_bytes(temporary, beside))
            return opens(spec, path, "cpu")
        return opens(spec, temporary, "cpu")


def int8_fingerprint(card: ModelCard, images: Pixels) -> str:
    """The fingerprint of a network's int8 engine, which depends on the images that its ranges are from."""
    return derived_fingerprint(card.fingerprint, b"int8" + hashlib.sha256(images.tobytes()).digest())


def is_exported(path: Path) -> bool:
    """Whether a path is a file of 'crosscam export' by its name; a folder is none, whatever its name."""
    return path.suffix.lower() in _CARDS and not path.is_dir()


def open_exported(path: Path, name: str, device: str = "cpu") -> tuple[Engine, ModelCard]:
    """An exported file and its card.

    Args:
        path: .onnx or .xml.
        name: an engine that runs such files, or ``"auto"``: the first that is installed.
        device: ``"cuda"`` is for ONNX Runtime alone.
    Raises:
        EngineError: no such file, damaged, not crosscam's, or the engine does not take it.
    """
    check_name(name)
    if not path.is_file():
        raise EngineError(f"No file {path}. Give a run folder, or a file of 'crosscam export'.")
    opens = _opener(path, name)
    refuse_changed(path)
    card = _CARDS[path.suffix.lower()](path)
    return opens(path, device), card


def open_graph(path: Path) -> Engine:
    """A file on the first engine that is installed; whether crosscam wrote it is not asked."""
    return _opener(path, "auto")(path, "cpu")


def _opener(path: Path, name: str) -> Callable[[Path, str], Engine]:
    """How an engine opens a file by its name."""
    fitting = {spec.name: spec for spec in ENGINES.values() if path.suffix.lower() in spec.suffixes}
    if name == "auto":
        name = next((spec.name for spec in fitting.values() if find_spec(spec.runtime)), next(iter(fitting)))
    if name not in fitting:
        *others, last = fitting
        known = f"{', '.join(others)} or {last}" if others else last
        raise EngineError(f"Engine {name} does not run {path.name}. Take {known}; a file's precision is its own.")
    spec = fitting[name]
    assert spec.open_file is not None
    return partial(spec.open_file, spec)
