"""Networks from elsewhere: an ONNX, OpenVINO or TorchScript file, a torch module, or a Python function, each with its
declared input, made to describe images as crosscam's own networks do."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosscam.data.network_input import NetworkInput
from crosscam.errors import EngineError
from crosscam.inference.engines.base import Descriptors, Pixels
from crosscam.inference.engines.last_map import SplitNetwork, split_at_last_map
from crosscam.inference.engines.network_runtimes import _EXAMPLES, Runtime
from crosscam.models.output import Block, Layout, ReidOutput, describe
from crosscam.system.text import counted


class ImportedNetwork(nn.Module):
    """A network from elsewhere, called as crosscam's own are; it takes bytes, since its normalization is its own.

    Args:
        opened: from :func:`open_file`, :func:`open_module` or :func:`open_function`.
        takes: the declared input.
        name: what messages call it.
        output: name of the output to take; by default the first that has one row for each image.
    Raises:
        EngineError: it does not take such images, or gives no row for each.

    Attributes:
        layout: one global block.
        output: name of the output that is taken.
        outputs: names of all outputs.
    """

    def __init__(self, opened: Runtime, takes: NetworkInput, name: str, output: str | None = None) -> None:
        super().__init__()
        self._opened, self.takes, self.name = opened, takes, name
        planes = np.random.default_rng(0).integers(0, 256, (_EXAMPLES, 3, takes.height, takes.width), dtype=np.uint8)
        found = self._outputs(torch.from_numpy(planes))
        self.outputs = tuple(found)
        self.output = _chosen_output(found, output, name)
        dim = found[self.output].size // _EXAMPLES
        self.layout: Layout = (Block("global", 0, dim, 1, "global", (0.0, 1.0)),)

    @property
    def engine(self) -> str:
        """What runs it."""
        return self._opened.engine

    def read_as(self, takes: NetworkInput) -> ImportedNetwork:
        """The same network with another declared input of the same size."""
        other = copy.copy(self)
        other.takes = takes
        return other

    def forward(self, planes: Tensor) -> ReidOutput:
        """(B, 3, height, width) uint8 RGB -> one embedding (B, D)."""
        rows = self._outputs(planes)[self.output]
        if len(rows) != len(planes) or rows.size != len(planes) * self.layout[0].dim:
            raise EngineError(
                f"{self.name} gives {rows.shape} for {counted(len(planes), 'image')}. Expected ({len(planes)}, "
                f"{self.layout[0].dim}). Export it for any number of images, or for one."
            )
        # A copy: some runtimes use their result's memory again at the next call.
        return ReidOutput((torch.from_numpy(np.array(rows, np.float32).reshape(len(planes), -1)),))

    def split(self) -> SplitNetwork:
        """The network, cut at its last feature map.

        Raises:
            EngineError: there is none, or OpenVINO is not installed or does not read the network.
        """
        opened = self._opened
        if opened.graph is None or opened.prepare is None:
            raise EngineError("it is a function, into which nothing can look.")
        place = self.outputs.index(self.output)
        return split_at_last_map(opened.graph, opened.prepare, self.takes, place, len(self.outputs), opened.batch or 1)

    def _outputs(self, planes: Tensor) -> dict[str, NDArray[Any]]:
        """All outputs; a fixed batch is filled up with black images, and the filling cut off."""
        size = self._opened.batch or max(1, len(planes))
        parts: list[Mapping[str, NDArray[Any]]] = []
        for start in range(0, max(1, len(planes)), size):
            part = planes[start : start + size]
            filled = (
                torch.cat((part, part.new_zeros((size - len(part), *part.shape[1:])))) if len(part) < size else part
            )
            parts.append({key: np.array(rows[: len(part)]) for key, rows in self._run(filled).items()})
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _run(self, planes: Tensor) -> Mapping[str, NDArray[Any]]:
        try:
            return self._opened.run(planes, self.takes)
        except EngineError:
            raise
        except Exception as error:  # the runtimes, and functions of users, raise classes of their own
            takes = self.takes
            raise EngineError(
                f"{self.name} does not run on {len(planes)} images of {takes.height} x {takes.width} "
                f"({_reason(error)}). Check its declared input: {takes}."
            ) from error


class ImportedEngine:
    """An imported network as an engine; see :class:`crosscam.inference.engines.base.Engine`.

    Args:
        network: what to run.
        flip: whether the mirror image counts.
    """

    def __init__(self, network: ImportedNetwork, *, flip: bool) -> None:
        self.network, self.flip, self.name = network, flip, network.engine

    def __call__(self, pixels: Pixels) -> Descriptors:
        """See :class:`crosscam.inference.engines.base.Engine`."""
        planes = torch.from_numpy(np.require(pixels, requirements=("C", "W"))).permute(0, 3, 1, 2)
        with torch.inference_mode():
            return describe(self.network, planes, flip=self.flip).numpy()


def _chosen_output(found: Mapping[str, NDArray[Any]], wanted: str | None, name: str) -> str:
    """The name of the output that has one row for each image."""
    shapes = {key: rows.shape for key, rows in found.items()}
    fitting = [key for key, shape in shapes.items() if len(shape) >= 2 and set(shape[2:]) <= {1} and shape[1] > 1]
    if wanted is not None and wanted not in fitting:
        fitting = []
    if not fitting or shapes[fitting[0]][0] != _EXAMPLES:
        given = ", ".join(f"{key} {shape}" for key, shape in shapes.items()) or "no numbers"
        raise EngineError(
            f"{name} gives {given} for {_EXAMPLES} images. Expected one row of numbers for each"
            f"{f' from output {wanted}' if wanted else ''}. Export the network with its pooling, without classifier."
        )
    return wanted or fitting[0]


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200].rstrip(".")
