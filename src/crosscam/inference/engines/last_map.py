"""The last feature map of a network from elsewhere, which its own output does not give: read from its graph."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosscam.data.network_input import NetworkInput
from crosscam.errors import EngineError
from crosscam.inference.engines.base import runtime
from crosscam.inference.engines.openvino_engine import compile_graph, openvino_core, settings_for

# Less than every fourth pixel is no map of features: it is the image, or tokens that happen to have its proportions.
LEAST_STRIDE = 4
_ATTENTION = ("Softmax", "ScaledDotProductAttention")

# (B, 3, height, width) uint8 RGB, and how they are read -> the array that the network takes.
Prepare = Callable[[Tensor, NetworkInput], NDArray[Any]]
# An array that the network takes -> its graph.
ReadGraph = Callable[[NDArray[Any]], Any]


def graph_of_file(path: Path) -> Any:
    """The graph of an .onnx or .xml file."""
    return openvino_core().read_model(os.fspath(path))


def graph_of_module(module: nn.Module, example: NDArray[Any], device: str) -> Any:
    """The graph of a torch module or a TorchScript module, traced with an example."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return runtime("openvino").convert_model(module, example_input=torch.from_numpy(example).to(device))


@dataclass(frozen=True, eq=False)
class SplitNetwork:
    """A network, cut at its last feature map.

    Attributes:
        front: (B, 3, height, width) uint8 RGB planes -> the map of each.
        rest: planes, and a map for each -> the network's output, (B, D).
        batch: images at once.
        channels_last: whether a map is (B, H', W', C), not (B, C, H', W').
    """

    front: Callable[[Tensor], NDArray[np.float32]]
    rest: Callable[[Tensor, NDArray[np.float32]], NDArray[np.float32]]
    batch: int
    channels_last: bool


def split_at_last_map(
    graph: ReadGraph, prepare: Prepare, takes: NetworkInput, output: int, outputs: int, batch: int
) -> SplitNetwork:
    """Cut a network at the feature map that stands nearest before an output.

    A feature map is (N, C, H', W') or (N, H', W', C) with about as many pixels of the image to a place in height as
    in width, four or more, and at least two places each way. Where attention stands behind it there is none: the
    places no longer stand for themselves.

    Args:
        graph: reads the network's graph.
        prepare: makes the network's input.
        takes: its declared input.
        output: which of its outputs.
        outputs: how many there are.
        batch: images at once.
    Raises:
        EngineError: OpenVINO is not installed or does not read the network, or there is no feature map.
    """
    library = runtime("openvino")
    example = prepare(torch.zeros(batch, 3, takes.height, takes.width, dtype=torch.uint8), takes)
    try:
        model = graph(example)
        model.reshape(list(example.shape))
        fits = len(model.outputs) == outputs
        result = model.outputs[output].get_node() if fits else None
        found = None if result is None else _nearest_map(model, result, takes)
    except Exception as error:  # the runtime raises classes of its own
        raise EngineError("OpenVINO does not read its graph.") from error
    if result is None or found is None:
        raise EngineError("before its output stands no feature map of places.")
    place, last = found
    settings = settings_for(False)
    front = compile_graph(library.Model([place], model.get_parameters(), "front"), settings)
    given = library.opset13.parameter(place.get_shape(), place.get_element_type())
    for target in place.get_target_inputs():
        target.replace_source_output(given.output(0))
    behind = library.Model([result.input_value(0)], [given, *model.get_parameters()], "rest")
    rest = compile_graph(behind, settings)
    return SplitNetwork(
        lambda planes: np.array(front([prepare(planes, takes)])[0], np.float32),
        lambda planes, maps: np.array(rest([maps, prepare(planes, takes)])[0], np.float32).reshape(len(planes), -1),
        batch,
        last,
    )


def _nearest_map(model: Any, result: Any, takes: NetworkInput) -> tuple[Any, bool] | None:
    """The output of the node, fewest steps before the result, that is a map of the image; and whether its channels
    come last."""
    seen = _of_the_image(model)
    for node in _backwards(result, seen):
        for place in node.outputs():
            last = _channels_last(place, takes)
            if last is not None:
                return None if _attention_behind(node, result, seen) else (place, last)
    return None


def _of_the_image(model: Any) -> set[str]:
    """Names of all nodes that depend on the input."""
    seen: set[str] = set()
    for node in model.get_ordered_ops():
        before = (value.get_source_output().get_node().get_friendly_name() for value in node.inputs())
        if node.get_type_name() == "Parameter" or any(name in seen for name in before):
            seen.add(node.get_friendly_name())
    return seen


def _backwards(result: Any, seen: set[str]) -> Iterator[Any]:
    """Nodes before the result, nearest first."""
    waiting, met = [result], {result.get_friendly_name()}
    while waiting:
        node = waiting.pop(0)
        yield node
        for value in node.inputs():
            before = value.get_source_output().get_node()
            name = before.get_friendly_name()
            if name in seen and name not in met:
                met.add(name)
                waiting.append(before)


def _attention_behind(node: Any, result: Any, seen: set[str]) -> bool:
    before = {n.get_friendly_name() for n in _backwards(node, seen)} - {node.get_friendly_name()}
    return any(n.get_type_name() in _ATTENTION for n in _backwards(result, seen) if n.get_friendly_name() not in before)


def _channels_last(place: Any, takes: NetworkInput) -> bool | None:
    """Whether a map's channels come last; None for what is no map."""
    shape = place.get_partial_shape()
    if not shape.is_static or len(shape) != 4:
        return None
    sides = [side.get_length() for side in shape]
    for height, width, last in ((sides[2], sides[3], False), (sides[1], sides[2], True)):
        if min(height, width) < 2:
            continue
        rows, columns = takes.height / height, takes.width / width
        if min(rows, columns) >= LEAST_STRIDE and 2 / 3 < rows / columns < 3 / 2:
            return last
    return None
