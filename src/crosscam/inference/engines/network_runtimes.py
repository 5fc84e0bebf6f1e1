"""Networks of other programs, opened: ONNX, OpenVINO and TorchScript files, torch modules, Python functions."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosscam.data.network_input import NetworkInput
from crosscam.errors import EngineError
from crosscam.inference.engines.base import Pixels
from crosscam.inference.engines.last_map import Prepare, ReadGraph, graph_of_file, graph_of_module
from crosscam.inference.engines.onnx_engine import open_session, opened
from crosscam.inference.engines.openvino_engine import compile_graph, openvino_core, settings_for
from crosscam.system.cores import chip_has_bf16

# (B, H, W, 3) uint8 RGB images -> (B, D) rows.
PixelFunction = Callable[[Pixels], Any]
TORCHSCRIPT = (".pt", ".pth", ".ts", ".torchscript", ".jit")
SUFFIXES = (".onnx", ".xml", *TORCHSCRIPT)
_ONNX_KINDS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_OPENVINO_KINDS = {"f32": "float32", "f16": "float16", "u8": "uint8"}
_EXAMPLES = 2


@dataclass(frozen=True, eq=False)
class Runtime:
    """An opened network.

    Attributes:
        engine: what runs it.
        run: (B, 3, height, width) uint8 RGB planes, and how they are read -> its outputs by name, in order.
        batch: images that it takes at once; None for any number.
        graph: read for its last feature map, see :mod:`crosscam.inference.engines.last_map`; None for a function.
        prepare: makes its input of such planes; None for a function.
    """

    engine: str
    run: Callable[[Tensor, NetworkInput], Mapping[str, NDArray[Any]]]
    batch: int | None = None
    graph: ReadGraph | None = None
    prepare: Prepare | None = None


def open_file(path: Path, takes: NetworkInput, engine: str = "auto", device: str = "cpu") -> Runtime:
    """Open a network's file on a runtime.

    Args:
        path: .onnx, .xml (its .bin stands beside it), or TorchScript.
        takes: the declared input.
        engine: ``"onnxruntime"``, ``"openvino"``, ``"openvino-bf16"`` or ``"torch"``; ``"auto"`` for the first that is
            installed and takes such a file.
        device: ``"cuda"`` is for ONNX Runtime and torch.
    Raises:
        EngineError: no such file, damaged, of another kind, of another input, or the runtime is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise EngineError(f"{path} is not a network that crosscam opens. Expected a name in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise EngineError(f"No file {path}. Give a network's file.")
    if suffix == ".xml" and not path.with_suffix(".bin").is_file():
        raise EngineError(f"No file {path.with_suffix('.bin')}. OpenVINO's weights belong beside {path.name}.")
    known = {".onnx": ("onnxruntime", "openvino", "openvino-bf16"), ".xml": ("openvino", "openvino-bf16")}
    fitting = known.get(suffix, ("torch",))
    if engine == "auto":
        engine = next((name for name in fitting[:2] if find_spec(name)), fitting[0])
    if engine not in fitting:
        raise EngineError(f"Engine {engine} does not run {path.name}. Choose one of: auto, {', '.join(fitting)}.")
    if engine == "torch":
        return _open_torchscript(path, device)
    if engine == "onnxruntime":
        return _open_onnx(path, takes, device)
    return _open_openvino(path, takes, engine)


def open_module(module: nn.Module, device: str = "cpu") -> Runtime:
    """A torch module that takes (B, 3, height, width) float32 as declared and gives (B, D).

    Args:
        module: it is put into evaluation mode, on ``device``.
        device: of torch.
    """
    module.eval().to(device)

    def run(planes: Tensor, takes: NetworkInput) -> Mapping[str, NDArray[Any]]:
        with torch.inference_mode():
            return _named(module(takes.scaled(planes.to(device))))

    def prepare(planes: Tensor, takes: NetworkInput) -> NDArray[Any]:
        return takes.scaled(planes).numpy()

    return Runtime("torch", run, None, lambda example: graph_of_module(module, example, device), prepare)


def open_function(function: PixelFunction, takes: NetworkInput) -> Runtime:
    """A Python function from (B, height, width, 3) uint8 images, in the declared order of channels, to (B, D) rows.

    Raises:
        EngineError: a declared scale; the function gets bytes and normalizes them itself.
    """
    if takes != NetworkInput(takes.order, takes.height, takes.width, "255", resize=takes.resize):
        raise EngineError(
            f"A function takes uint8 images, and {str(takes)!r} declares other numbers. "
            f"Give '{takes.order} {takes.height}x{takes.width} 255' and let the function normalize."
        )

    def run(planes: Tensor, takes: NetworkInput) -> Mapping[str, NDArray[Any]]:
        ordered = planes.flip(1) if takes.order == "bgr" else planes
        return _named(function(np.ascontiguousarray(ordered.permute(0, 2, 3, 1).numpy())))

    return Runtime("python", run)


def _open_onnx(path: Path, takes: NetworkInput, device: str) -> Runtime:
    session = open_session(path, device)
    inputs = session.get_inputs()
    shape = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape] if inputs else []
    kind = _ONNX_KINDS.get(inputs[0].type, inputs[0].type) if inputs else ""
    prepared, batch = _fitted(path, takes, len(inputs), shape, kind)
    names = [output.name for output in session.get_outputs()]

    def run(planes: Tensor, takes: NetworkInput) -> Mapping[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {inputs[0].name: prepared(planes, takes)}), strict=True))

    return Runtime("onnxruntime", run, batch, lambda _: graph_of_file(path), prepared)


def _open_openvino(path: Path, takes: NetworkInput, engine: str) -> Runtime:
    core = openvino_core()
    model = opened(path, lambda: core.read_model(os.fspath(path)))
    inputs = model.inputs
    shape = [side.get_length() if side.is_static else None for side in inputs[0].partial_shape] if inputs else []
    kind = inputs[0].element_type.get_type_name() if inputs else ""
    prepared, batch = _fitted(path, takes, len(inputs), shape, _OPENVINO_KINDS.get(kind, kind))
    settings = settings_for(engine == "openvino-bf16" and chip_has_bf16("cpu"))
    names = [output.get_any_name() if output.get_names() else str(i) for i, output in enumerate(model.outputs)]

    sides = [-1 if side is None else side for side in shape[1:]]
    # Most files are written for one image at a time, and most of these take any number all the same. Those that do
    # not are found by their shapes: to run them with another number may end the process.
    free = False
    with suppress(RuntimeError, IndexError):
        model.reshape([_EXAMPLES, *sides])
        free = all(output.partial_shape[0] == _EXAMPLES for output in model.outputs)
    count = None if free else batch or 1

    def compiled() -> Any:
        fresh = core.read_model(os.fspath(path))
        fresh.reshape([count or -1, *sides])
        return compile_graph(fresh, settings)

    network = opened(path, compiled)

    def run(planes: Tensor, takes: NetworkInput) -> Mapping[str, NDArray[Any]]:
        found = network([prepared(planes, takes)])
        return {name: found[i] for i, name in enumerate(names)}

    return Runtime(engine, run, count, lambda _: graph_of_file(path), prepared)


def _open_torchscript(path: Path, device: str) -> Runtime:
    """A TorchScript archive. It is a program in a language of torch's own, which torch runs; a pickle is not opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        members = []
    if not any("/code/" in name for name in members) or not any(n.endswith("/constants.pkl") for n in members):
        raise EngineError(
            f"{path} is not TorchScript. A file of torch.save is a pickle, which may run any code when it is opened: "
            "crosscam does not open it. Write the network as ONNX, or as TorchScript (torch.jit.trace, then save)."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = opened(path, lambda: torch.jit.load(os.fspath(path), map_location=device))  # type: ignore[no-untyped-call]
    return open_module(module, device)


def _fitted(
    path: Path, takes: NetworkInput, count: int, shape: Sequence[int | None], kind: str
) -> tuple[Callable[[Tensor, NetworkInput], NDArray[Any]], int | None]:
    """What makes the file's input of bytes, and how many images it takes at once.

    Args:
        path: of the file.
        takes: the declared input.
        count: inputs of the network.
        shape: of its input; None for a free side.
        kind: the type of its numbers.
    Raises:
        EngineError: the file's input is another one.
    """
    shown = " x ".join("any" if side is None else str(side) for side in shape)
    wanted = (3, takes.height, takes.width)
    first = len(shape) == 4 and all(side in (None, need) for side, need in zip(shape[1:], wanted, strict=True))
    last = len(shape) == 4 and all(s in (None, need) for s, need in zip(shape[1:], (*wanted[1:], 3), strict=True))
    if count != 1 or not (first or last):
        raise EngineError(
            f"{path} takes {f'{count} inputs' if count != 1 else shown}, and {str(takes)!r} is images of 3 channels, "
            f"{takes.height} high and {takes.width} wide. Declare the size that the file takes, height first."
        )
    if kind not in ("float32", "float16", "uint8") or (kind == "uint8" and not _is_bytes(takes)):
        raise EngineError(
            f"{path} takes {kind}, and {str(takes)!r} declares other numbers. Declare scale 255 for bytes."
        )

    def prepared(planes: Tensor, takes: NetworkInput) -> NDArray[Any]:
        numbers = takes.scaled(planes)
        ordered = numbers if first else numbers.permute(0, 2, 3, 1).contiguous()
        return ordered.numpy().astype(kind, copy=False)

    return prepared, shape[0]


def _is_bytes(takes: NetworkInput) -> bool:
    return takes.scale == "255" and set(takes.mean) == {0.0} and set(takes.std) == {1.0}


def _named(found: Any) -> dict[str, NDArray[Any]]:
    """Outputs of a torch module or a function by name: those of a mapping by their keys, of a sequence by number."""
    if isinstance(found, Mapping):
        parts = {str(key): value for key, value in found.items()}
    elif isinstance(found, list | tuple):
        parts = {str(place): value for place, value in enumerate(found)}
    else:
        parts = {"0": found}
    return {key: _as_array(value) for key, value in parts.items() if isinstance(value, Tensor | np.ndarray)}


def _as_array(value: Tensor | NDArray[Any]) -> NDArray[Any]:
    return value.detach().float().cpu().numpy() if isinstance(value, Tensor) else value
