"""Residual networks: from images to a feature map, with torchvision's parameter names.

Source: He et al., CVPR 2016; the stride of a bottleneck stands on its 3x3 convolution ("v1.5"), as in torchvision.
The stride of the last stage is 1 (Park & Ham, AAAI 2020, "Part-level features"), so a map has 1/16 of the image's
height and width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from crosscam.errors import CheckpointError

BackboneName = Literal["resnet18-half", "resnet18", "resnet34", "resnet50", "resnet101"]
STRIDE = 16


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection."""

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, planes, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + skip)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip connection."""

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 * planes, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + skip)
        return out


class ResNet(nn.Module):
    """The convolutional part of a ResNet.

    Args:
        block: the residual block.
        depths: blocks in each of the four stages.
        width: channels of the stem; 64 in the paper, 32 for the half-width network.
        last_stride: stride of the fourth stage.

    Attributes:
        out_channels: C of the feature map.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        width: int = 64,
        last_stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inplanes = width
        stages: list[nn.Sequential] = []
        for stage, (depth, stride) in enumerate(zip(depths, (1, 2, 2, last_stride), strict=True)):
            planes = width * 2**stage
            # Only the input of the last stage can keep its size and still need a projection (authors' row 19).
            blocks = [block(inplanes, planes, stride, _projection(inplanes, planes * block.expansion, stride))]
            inplanes = planes * block.expansion
            blocks += [block(inplanes, planes, 1, None) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = inplanes
        _init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> (B, C, H/16, W/16) feature map, C = ``out_channels``."""
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x


def _projection(inplanes: int, outplanes: int, stride: int) -> nn.Module | None:
    if stride == 1 and inplanes == outplanes:
        return None
    return nn.Sequential(nn.Conv2d(inplanes, outplanes, 1, stride, bias=False), nn.BatchNorm2d(outplanes))


def _init_convolutions(module: nn.Module) -> None:
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")


BACKBONES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int], int]] = {
    "resnet18-half": (BasicBlock, (2, 2, 2, 2), 32),
    "resnet18": (BasicBlock, (2, 2, 2, 2), 64),
    "resnet34": (BasicBlock, (3, 4, 6, 3), 64),
    "resnet50": (Bottleneck, (3, 4, 6, 3), 64),
    "resnet101": (Bottleneck, (3, 4, 23, 3), 64),
}

# torchvision's ImageNet files, first version (V1): the published RRID numbers started from resnet50-19c8e357.
IMAGENET_URLS = {
    "resnet18": "https://download.pytorch.org/models/resnet18-5c106cde.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-333f7ec4.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-19c8e357.pth",
    "resnet101": "https://download.pytorch.org/models/resnet101-5d3b4d8f.pth",
}


def build_backbone(name: str, last_stride: int = 1) -> ResNet:
    """A backbone with random weights.

    Args:
        name: one of ``BACKBONES``.
        last_stride: stride of the last stage; 1 in the paper.
    Raises:
        ValueError: unknown name.
    """
    if name not in BACKBONES:
        raise ValueError(f"Unknown backbone {name!r}. Known: {', '.join(BACKBONES)}.")
    block, depths, width = BACKBONES[name]
    return ResNet(block, depths, width, last_stride)


def load_imagenet(backbone: ResNet, name: str, source: str) -> None:
    """Fill a backbone with ImageNet weights from a file of torchvision's layout.

    Args:
        backbone: what to fill, in place; the file's classifier (``fc``) is left out.
        name: the backbone's name, for the messages and the download address.
        source: a ``.pth`` or ``.safetensors`` file, or ``"download"`` to fetch torchvision's (needs the network).
    Raises:
        CheckpointError: no such file, or it does not fit.
    """
    state = _download(name) if source == "download" else _read_state(Path(source))
    state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    own = backbone.state_dict()
    missing = sorted(k for k in own if k not in state and not k.endswith("num_batches_tracked"))
    wrong = sorted(k for k in state if k not in own or own[k].shape != state[k].shape)
    if missing or wrong:
        raise CheckpointError(
            f"{source} does not fit backbone {name}: {len(missing)} parameters missing, {len(wrong)} unknown or of "
            f"another shape (first: {(missing + wrong)[0]}). Give the ImageNet file of {name}."
        )
    backbone.load_state_dict(state, strict=False)


def _download(name: str) -> dict[str, Tensor]:
    if name not in IMAGENET_URLS:
        raise CheckpointError(f"No ImageNet weights are published for {name}. Known: {', '.join(IMAGENET_URLS)}.")
    state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
        IMAGENET_URLS[name], map_location="cpu", weights_only=True, check_hash=True
    )
    return state


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"No weights file {path}. Give a path, or 'download' for torchvision's ImageNet weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a plain weights file ({type(error).__name__}). Nothing was loaded."
        ) from error
