"""The body of OpenVINO's person-reidentification-retail-0277 or 0287 as a backbone that can be trained further.

The published graph holds batch norms folded into its convolutions. They are taken apart again: each first becomes one
of mean 0 and variance 1, and then gets the mean and variance of its inputs over images, without a change of what it
computes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crosscam.inference.engines.openvino_engine import openvino_core
from crosscam.models.backbones.omni_scale import AggregationGate, OmniScaleBlock, OSNetLCT

BATCH = 32
# Behind the feature map the published graph has a convolution, two sums, a product and a sum with numbers of their own.
BEHIND = 5


def fill_body(body: OSNetLCT, xml: Path) -> None:
    """The published weights; the program ends if the graph is another's (0277: osnet-lct, 0287: osnet-lct-x0.5)."""
    left = _constants(xml)
    try:
        next(left)  # The scale of the pixels, which the instance norm of the image makes void.
        for parameter in _in_order(body):
            parameter.data.copy_(next(left).reshape(parameter.shape))
        behind = sum(1 for _ in left)
    except (RuntimeError, StopIteration):
        behind = -1
    if behind != BEHIND:
        sys.exit(
            f"{xml}: its weights do not fit the backbone. Expected person-reidentification-retail-0277 for osnet-lct, "
            "0287 for osnet-lct-x0.5."
        )
    for norm in body.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data.fill_((1 + norm.eps) ** 0.5)


def _in_order(body: OSNetLCT) -> Iterator[Tensor]:
    """The parameters in the order of the published graph, which repeats a gate for each stream that it weighs."""
    for layer in body.stem:
        yield from layer.parameters()
    for block in body.blocks:
        if isinstance(block, OmniScaleBlock):
            yield from _unit(block.narrow)
            for stream in block.streams:
                for lite in stream:
                    yield from _unit(lite)
                yield from _gate(block)
            yield from _unit(block.expand)
            if isinstance(block.skip, nn.Sequential):
                yield from _unit(block.skip)
        elif isinstance(block, nn.Sequential):
            yield from _unit(block)


def _unit(layers: nn.Sequential) -> Iterator[Tensor]:
    """Convolutions and the bias of the norm behind them."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            yield layer.weight
        elif isinstance(layer, nn.BatchNorm2d):
            yield layer.bias


def _gate(block: OmniScaleBlock) -> Iterator[Tensor]:
    gate = block.gate
    for layer in (gate.weigh[0], gate.weigh[2]) if isinstance(gate, AggregationGate) else (gate,):
        yield from (layer.weight, layer.bias)


def _constants(xml: Path) -> Iterator[Tensor]:
    """What the graph's convolutions, sums and products hold, in the order of computation."""
    for op in openvino_core().read_model(xml).get_ordered_ops():
        if op.get_type_name() in ("Convolution", "GroupConvolution", "Add", "Multiply"):
            node = op.input(1).get_source_output().get_node()
            while node.get_type_name() == "Convert":
                node = node.input(0).get_source_output().get_node()
            if node.get_type_name() == "Constant":
                yield torch.tensor(np.array(node.data), dtype=torch.float32)


@torch.no_grad()
def unfold_norms(body: nn.Module, images: Tensor) -> None:
    """Give each batch norm the mean and variance of its inputs over the images; what it computes stays the same."""
    sums: dict[nn.Module, list[Tensor]] = {}

    def hook(module: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        x = inputs[0].double().transpose(0, 1).flatten(1)
        moments = [x.mean(dim=1), (x * x).mean(dim=1), torch.ones(())]
        sums[module] = [a + b for a, b in zip(sums[module], moments, strict=True)] if module in sums else moments

    norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    handles = [m.register_forward_hook(hook) for m in norms]
    for start in range(0, len(images), BATCH):
        body(images[start : start + BATCH])
    for handle in handles:
        handle.remove()
    for m in norms:
        mean, square = (total / sums[m][2] for total in sums[m][:2])
        variance = square - mean**2
        m.bias += mean
        m.weight.copy_((variance + m.eps).sqrt())
        m.running_mean.copy_(mean)
        m.running_var.copy_(variance)
