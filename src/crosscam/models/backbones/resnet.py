"""Residual networks: from images to a feature map, with torchvision's parameter names.

Source: He et al., CVPR 2016; the stride of a bottleneck stands on its 3x3 convolution ("v1.5"), as in torchvision. With
instance normalization: Pan et al., ECCV 2018 (IBN-a). The stride of the last stage is 1 (Park & Ham, AAAI 2020,
"Part-level features"), so a map has 1/16 of the image's height and width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import Backbone, init_convolutions

BlockName = Literal["basic", "bottleneck"]
Four = tuple[int, int, int, int]
# Numbers in a vector of AVX2.
_VECTOR = 8


@dataclass(frozen=True)
class ResNetShape:
    """The sizes of a ResNet.

    Attributes:
        block: ``"basic"`` (two 3x3 convolutions) or ``"bottleneck"`` (1x1, 3x3, 1x1).
        depths, planes, out: blocks, channels inside the blocks, and channels that come out, of each of the four stages.
        stem: channels of the first convolution.
        instance: whether half of the channels behind each block's first convolution are normalized image by image, in
            all stages but the last: what depends on a camera's light and colors fades.
    """

    block: BlockName
    depths: Four
    stem: int
    planes: Four
    out: Four
    instance: bool = False

    @property
    def name(self) -> str:
        """The name in ``RESNETS`` or, for a network that has none, its sizes spelled out."""
        named = [name for name, shape in RESNETS.items() if shape == self]
        if named:
            return named[0]
        lists = (".".join(map(str, numbers)) for numbers in (self.planes, self.out, self.depths))
        spelled = "{}:stem={},planes={},out={},depths={}".format(self.block, self.stem, *lists)
        return spelled + ",ibn" * self.instance


class InstanceBatchNorm(nn.Module):
    """Instance normalization of the first half of the channels, batch normalization of the others (IBN-a)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_instance = channels // 2
        self.instance = nn.InstanceNorm2d(self.num_instance, affine=True)
        self.batch = nn.BatchNorm2d(channels - self.num_instance)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        first, second = x[:, : self.num_instance], x[:, self.num_instance :]
        return torch.cat((self.instance(first), self.batch(second)), dim=1)


def _norm(channels: int, instance: bool) -> nn.Module:
    return InstanceBatchNorm(channels) if instance else nn.BatchNorm2d(channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection."""

    def __init__(self, inplanes: int, planes: int, outplanes: int, stride: int, instance: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = _norm(planes, instance)
        self.conv2 = nn.Conv2d(planes, outplanes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outplanes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(inplanes, outplanes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inplanes, H, W) -> (B, outplanes, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + skip)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip connection."""

    def __init__(self, inplanes: int, planes: int, outplanes: int, stride: int, instance: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = _norm(planes, instance)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outplanes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outplanes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(inplanes, outplanes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inplanes, H, W) -> (B, outplanes, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + skip)
        return out


class ResNet(Backbone):
    """The convolutional part of a ResNet; ``last_stride`` is that of the fourth stage."""

    def __init__(self, shape: ResNetShape, last_stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, shape.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(shape.stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        block = BasicBlock if shape.block == "basic" else Bottleneck
        inplanes = shape.stem
        stages: list[nn.Sequential] = []
        sizes = zip(shape.depths, shape.planes, shape.out, (1, 2, 2, last_stride), strict=True)
        for stage, (depth, planes, outplanes, stride) in enumerate(sizes):
            instance = shape.instance and stage < 3
            blocks = [block(inplanes, planes, outplanes, stride, instance)]
            blocks += [block(outplanes, planes, outplanes, 1, instance) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            inplanes = outplanes
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = inplanes
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, H/16, W/16) feature map, C = ``out_channels``."""
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x

    @property
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The first convolution, then the four stages."""
        stem = [self.conv1, self.bn1, self.relu, self.maxpool]
        return [stem, *([layer] for layer in (self.layer1, self.layer2, self.layer3, self.layer4))]

    def parted(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Up to the first block of the third stage (``conv4_1``), and the rest."""
        third = list(self.layer3)
        trunk = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool, self.layer1, self.layer2, third[0])
        return trunk, nn.Sequential(nn.Sequential(*third[1:]), self.layer4)


def _projection(inplanes: int, outplanes: int, stride: int) -> nn.Module | None:
    if stride == 1 and inplanes == outplanes:
        return None
    return nn.Sequential(PointwiseConv2d(inplanes, outplanes, stride), nn.BatchNorm2d(outplanes))


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution with a stride; it has no bias, until a normalization is made part of it.

    Of few channels, the weight gradient of oneDNN (AVX2, channels_last; seen in torch 2.13) writes beyond its memory
    when there is a stride: numbers change from run to run, or the process ends. There the rows are picked first.
    """

    def __init__(self, inplanes: int, outplanes: int, stride: int) -> None:
        super().__init__(inplanes, outplanes, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inplanes, H, W) -> (B, outplanes, H / stride, W / stride)."""
        if self.in_channels % _VECTOR:
            return conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight, self.bias)
        return conv2d(x, self.weight, self.bias, self.stride)


def _standard(block: BlockName, depths: Four, width: int = 64, instance: bool = False) -> ResNetShape:
    planes = (width, 2 * width, 4 * width, 8 * width)
    return ResNetShape(block, depths, width, planes, planes if block == "basic" else (256, 512, 1024, 2048), instance)


RESNETS: dict[str, ResNetShape] = {
    "resnet18-half": _standard("basic", (2, 2, 2, 2), width=32),
    "resnet18-half-ibn": _standard("basic", (2, 2, 2, 2), width=32, instance=True),
    "resnet18": _standard("basic", (2, 2, 2, 2)),
    "resnet34": _standard("basic", (3, 4, 6, 3)),
    "resnet50": _standard("bottleneck", (3, 4, 6, 3)),
    "resnet50-ibn": _standard("bottleneck", (3, 4, 6, 3), instance=True),
    "resnet101": _standard("bottleneck", (3, 4, 23, 3)),
}
_SPELLED = re.compile(
    r"(basic|bottleneck):stem=(\d+),planes=(\d+(?:\.\d+){3}),out=(\d+(?:\.\d+){3}),depths=(\d+(?:\.\d+){3})(,ibn)?"
)


def resnet_shape(name: str) -> ResNetShape | None:
    """The sizes behind a name such as ``"bottleneck:stem=4,planes=2.2.2.2,out=8.8.8.2048,depths=1.1.1.1"``, or None."""
    if name in RESNETS:
        return RESNETS[name]
    spelled = _SPELLED.fullmatch(name)
    if spelled is None:
        return None
    block, stem, *lists, ibn = spelled.groups()
    planes, out, depths = ((int(a), int(b), int(c), int(d)) for a, b, c, d in (text.split(".") for text in lists))
    if 0 in (int(stem), *planes, *out, *depths):
        raise ArgumentError(f"Backbone {name!r} has a size of zero. Every size is at least 1.")
    return ResNetShape("basic" if block == "basic" else "bottleneck", depths, int(stem), planes, out, ibn is not None)
