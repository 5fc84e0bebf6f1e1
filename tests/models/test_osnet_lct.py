from __future__ import annotations

import pytest
import torch
from torch import nn

from crosscam.models.backbones.build import build_backbone, num_stages
from crosscam.models.backbones.omni_scale import LinearContextGate


def plain_gate(streams, weight, bias, groups=16):
    """The linear context transform with loops, as its paper writes it."""
    out = torch.zeros_like(streams[0])
    size = streams[0].shape[1] // groups
    for x in streams:
        for image in range(len(x)):
            pooled = x[image].mean(dim=(1, 2))
            for channel in range(x.shape[1]):
                group = pooled[channel // size * size : channel // size * size + size]
                deviation = torch.sqrt(((group - group.mean()) ** 2).mean() + 1e-5)
                context = weight[channel] * (pooled[channel] - group.mean()) / deviation + bias[channel]
                out[image, channel] += x[image, channel] / (1 + torch.exp(-context))
    return out


def test_gate_is_the_papers_formula():
    torch.manual_seed(0)
    gate = LinearContextGate(32)
    nn.init.normal_(gate.weight)
    nn.init.normal_(gate.bias)
    streams = [torch.randn(2, 32, 3, 2) for _ in range(4)]
    torch.testing.assert_close(gate(streams), plain_gate(streams, gate.weight, gate.bias), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "channels"), [("osnet-lct", 512), ("osnet-lct-x0.5", 256)])
@pytest.mark.parametrize(("last_stride", "size"), [(1, (8, 4)), (2, (4, 2))])
def test_map_sizes(name, channels, last_stride, size):
    with torch.device("meta"):
        backbone = build_backbone(name, last_stride)
        assert backbone(torch.empty(2, 3, 128, 64)).shape == (2, channels, *size)
        assert backbone.out_channels == channels


@pytest.mark.parametrize(("name", "number"), [("osnet-lct", 1_891_448), ("osnet-lct-x0.5", 491_167)])
def test_parameters_are_those_of_the_published_file(name, number):
    """Of person-reidentification-retail-0277 and 0287: convolutions, norms of the image and the stem, gates."""
    backbone = build_backbone(name)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    scales = sum(m.weight.numel() for m in norms)
    # The file holds one bias in place of the weight, bias, mean and variance of each batch norm.
    assert sum(p.numel() for p in backbone.parameters()) - scales == number


@pytest.mark.parametrize("name", ["osnet-lct", "osnet-lct-x0.5"])
def test_stages_and_parts_hold_every_layer_once(name):
    backbone = build_backbone(name).eval()
    assert len(backbone.stages) == num_stages(name) == 4
    assert len(backbone.trunk_stages) == num_stages(name, shared=True) == 3
    for parts in (backbone.stages, backbone.parted()):
        held = [p for part in parts for module in part for p in module.parameters()]
        assert {id(p) for p in held} == {id(p) for p in backbone.parameters()}
        assert len(held) == len({id(p) for p in held})
    images = torch.randn(1, 3, 64, 32)
    trunk, rest = backbone.parted()
    torch.testing.assert_close(rest(trunk(images)), backbone(images))
    assert trunk[:-1](images).shape[2:] == (4, 2)


def test_brightness_and_contrast_of_an_image_do_not_reach_the_map():
    backbone = build_backbone("osnet-lct").eval()
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(backbone(images * 0.5 + 0.3), backbone(images), rtol=1e-3, atol=1e-3)
