"""Activation maps of networks from elsewhere are gradient times activation where only linear layers follow the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crosscam import Extractor
from crosscam.explain.pair import MapsOf, explain_pair
from crosscam.report.pair_page import render_pair_page
from imported_networks import HEIGHT, WIDTH, Stripes, write_onnx

openvino = pytest.importorskip("openvino")
INPUT = f"bgr {HEIGHT}x{WIDTH} 1"


def convolution() -> nn.Sequential:
    """(B, 3, 32, 16) -> map (B, 6, 8, 4) -> (B, 5)."""
    torch.manual_seed(3)
    front = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU())
    return nn.Sequential(front, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()


class ChannelsLast(nn.Module):
    """The same with (B, 32, 16, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = convolution()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 32, 16, 3) -> (B, 5)."""
        return self.inner(images.permute(0, 3, 1, 2))


class Attention(nn.Module):
    """Places that look at each other behind the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.front = convolution()[0]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 32, 16) -> (B, 6)."""
        tokens = self.front(images).flatten(2).transpose(1, 2)
        return ((tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens).mean(1)


def gradients(images: np.ndarray, flip: bool, against: np.ndarray | None) -> np.ndarray:
    """(2, 8, 4) by torch: sum over channels of dS/dA * A, its positive part, the largest 1."""
    network, found = convolution(), []
    for number, image in enumerate(images):
        straight = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))[None] / 255
        both = torch.cat((straight, straight.flip(3))) if flip else straight
        maps = network[0](both).detach().requires_grad_()
        row = network[1:](maps).mean(dim=0)
        v = row.detach() if against is None else torch.from_numpy(against[number])
        places = (torch.autograd.grad(row @ v, maps)[0] * maps.detach()).sum(dim=1)
        total = places[0] + places[1].flip(1) if flip else places[0]
        found.append((total.clamp(min=0) / total.clamp(min=0).max()).numpy())
    return np.stack(found)


def written(form: str, folder: Path) -> object:
    """The network in one of the forms that are imported."""
    if form == "module":
        return convolution()
    if form == "onnx":
        return write_onnx(convolution(), folder / "net.onnx")
    if form == "onnx of three":
        return write_onnx(convolution(), folder / "net.onnx", batch=3)
    if form == "torchscript":
        torch.jit.trace(convolution(), torch.zeros(2, 3, HEIGHT, WIDTH)).save(str(folder / "net.pt"))
        return folder / "net.pt"
    example = torch.zeros(1, HEIGHT, WIDTH, 3)
    model = openvino.convert_model(ChannelsLast(), example_input=example, input=[1, HEIGHT, WIDTH, 3])
    openvino.save_model(model, folder / "net.xml", compress_to_fp16=False)
    return folder / "net.xml"


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", ["module", "onnx", "onnx of three", "torchscript", "channels last"])
def test_maps_are_gradient_times_activation(form: str, images: np.ndarray, tmp_path: Path) -> None:
    for flip, maps_of in ((True, "strength"), (False, "agreement")):
        extractor = Extractor.load(written(form, tmp_path), input=INPUT, flip=flip)
        kind: MapsOf = maps_of
        pair = explain_pair(extractor, *images, maps_of=kind)
        against = extractor(list(images))[::-1].copy() if maps_of == "agreement" else None
        assert pair.query_maps is not None
        assert pair.match_maps is not None
        found = np.stack((pair.query_maps[0], pair.match_maps[0]))
        np.testing.assert_allclose(found, gradients(images, flip, against), atol=1e-3)
        assert pair.silenced
        assert "set to 0" in render_pair_page(pair, {})


def test_the_distance_is_one_block(images: np.ndarray) -> None:
    extractor = Extractor.load(convolution(), input=INPUT)
    pair = explain_pair(extractor, *images)
    first, second = extractor(list(images)).astype(np.float64)
    assert [part.block.name for part in pair.blocks] == ["global"]
    assert pair.squared_distance == pytest.approx(np.square(first - second).sum(), abs=1e-6)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (Stripes(), "No activation map of Stripes: before its output stands no feature map of places."),
        (Attention(), "No activation map of Attention: before its output stands no feature map of places."),
        (lambda pixels: pixels.mean(axis=(1, 2)), "No activation map of mine: it is a function, into which"),
    ],
)
def test_a_network_without_a_map_says_so_in_one_line(source: object, told: str, images: np.ndarray) -> None:
    function = not isinstance(source, nn.Module)
    size = f"rgb {HEIGHT}x{WIDTH} 255"
    extractor = Extractor.load(source, input=size, name="mine" if function else None)
    pair = explain_pair(extractor, *images)
    assert pair.query_maps is None
    assert pair.no_maps.startswith(told)
    assert "\n" not in pair.no_maps
    assert pair.no_maps in render_pair_page(pair, {})
