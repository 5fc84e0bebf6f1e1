"""Residual networks: from images to a feature map, with torchvision's parameter names.

Source: He et al., CVPR 2016; the stride of a bottleneck stands on its 3x3 convolution ("v1.5"), as in torchvision.
With instance normalisation: Pan et al., ECCV 2018 (IBN-a).
The stride of the last stage is 1 (Park & Ham, AAAI 2020, "Part-level features"), so a map has 1/16 of the image's
height and width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from crosscam.errors import CheckpointError
from crosscam.system.names import is_unicode

BackboneName = Literal["resnet18-half", "resnet18-half-ibn", "resnet18", "resnet34", "resnet50", "resnet101"]
BlockName = Literal["basic", "bottleneck"]
Four = tuple[int, int, int, int]
STRIDE = 16


@dataclass(frozen=True)
class ResNetShape:
    """The sizes of a ResNet.

    Attributes:
        block: ``"basic"`` (two 3x3 convolutions) or ``"bottleneck"`` (1x1, 3x3, 1x1).
        depths: blocks in each of the four stages.
        stem: channels of the first convolution.
        planes: channels inside the blocks of each stage.
        out: channels that each stage gives.
        instance: whether half of the channels behind each block's first convolution are normalised image by image, in
            all stages but the last: what depends on a camera's light and colours fades.
    """

    block: BlockName
    depths: Four
    stem: int
    planes: Four
    out: Four
    instance: bool = False

    @property
    def name(self) -> str:
        """The name in ``BACKBONES`` or, for a network that has none, its sizes spelled out."""
        named = [name for name, shape in BACKBONES.items() if shape == self]
        if named:
            return named[0]
        lists = (".".join(map(str, numbers)) for numbers in (self.planes, self.out, self.depths))
        spelled = "{}:stem={},planes={},out={},depths={}".format(self.block, self.stem, *lists)
        return spelled + ",ibn" * self.instance


class InstanceBatchNorm(nn.Module):
    """Instance normalisation of the first half of the channels, batch normalisation of the others.

    Source: Pan et al., ECCV 2018, IBN-a.
    """

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


class ResNet(nn.Module):
    """The convolutional part of a ResNet.

    Args:
        shape: its sizes.
        last_stride: stride of the fourth stage.

    Attributes:
        out_channels: C of the feature map.
    """

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


def _standard(block: BlockName, depths: Four, width: int = 64, instance: bool = False) -> ResNetShape:
    planes = (width, 2 * width, 4 * width, 8 * width)
    return ResNetShape(block, depths, width, planes, planes if block == "basic" else (256, 512, 1024, 2048), instance)


BACKBONES: dict[str, ResNetShape] = {
    "resnet18-half": _standard("basic", (2, 2, 2, 2), width=32),
    "resnet18-half-ibn": _standard("basic", (2, 2, 2, 2), width=32, instance=True),
    "resnet18": _standard("basic", (2, 2, 2, 2)),
    "resnet34": _standard("basic", (3, 4, 6, 3)),
    "resnet50": _standard("bottleneck", (3, 4, 6, 3)),
    "resnet101": _standard("bottleneck", (3, 4, 23, 3)),
}
_SPELLED = re.compile(
    r"(basic|bottleneck):stem=(\d+),planes=(\d+(?:\.\d+){3}),out=(\d+(?:\.\d+){3}),depths=(\d+(?:\.\d+){3})(,ibn)?"
)


def backbone_shape(name: str) -> ResNetShape:
    """The sizes behind a backbone's name, for example
    ``"resnet50"`` or ``"bottleneck:stem=4,planes=2.2.2.2,out=8.8.8.2048,depths=1.1.1.1"``.

    Raises:
        ValueError: unknown name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    spelled = _SPELLED.fullmatch(name)
    if spelled is None:
        raise ValueError(f"Unknown backbone {name!r}. Known: {', '.join(BACKBONES)}.")
    block, stem, *lists, ibn = spelled.groups()
    planes, out, depths = ((int(a), int(b), int(c), int(d)) for a, b, c, d in (text.split(".") for text in lists))
    if 0 in (int(stem), *planes, *out, *depths):
        raise ValueError(f"Backbone {name!r} has a size of zero. Every size is at least 1.")
    return ResNetShape("basic" if block == "basic" else "bottleneck", depths, int(stem), planes, out, ibn is not None)


# torchvision's ImageNet files, first version (V1): the published RRID numbers started from resnet50-19c8e357.
IMAGENET_URLS = {
    "resnet18": "https://download.pytorch.org/models/resnet18-5c106cde.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-333f7ec4.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-19c8e357.pth",
    "resnet101": "https://download.pytorch.org/models/resnet101-5d3b4d8f.pth",
}


def build_backbone(name: str, last_stride: int = 1, pretrained: str | None = None) -> ResNet:
    """A backbone with random weights, or with ImageNet's.

    Args:
        name: one of ``BACKBONES``, or sizes spelled out as in :func:`backbone_shape`.
        last_stride: stride of the last stage; 1 in the paper.
        pretrained: see :func:`load_imagenet`; None for random weights.
    Raises:
        ValueError: unknown name.
        CheckpointError: weights that do not fit.
    """
    backbone = ResNet(backbone_shape(name), last_stride)
    if pretrained is not None:
        load_imagenet(backbone, name, pretrained)
    return backbone


def check_backbone(name: str, last_stride: int) -> None:
    """Whether a recipe's ``model.backbone`` and ``model.last_stride`` exist.

    Raises:
        ValueError: they do not.
    """
    try:
        backbone_shape(name)
    except ValueError as error:
        raise ValueError(f"model.backbone: {error}") from error
    if last_stride not in (1, 2):
        raise ValueError(f"model.last_stride={last_stride}: expected from 1 to 2.")


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
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            IMAGENET_URLS[name], map_location="cpu", weights_only=True, check_hash=True
        )
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"Cannot fetch {IMAGENET_URLS[name]} ({error}). Check the network, or give the path of a file."
        ) from error
    return state


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"No weights file {path}. Give a path, or 'download' for torchvision's ImageNet weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load, load_file

            return load_file(path) if is_unicode(path) else load(path.read_bytes())
        state: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a plain weights file ({type(error).__name__}): it is damaged, or asks to run code. Nothing "
            "in it was run. Give torchvision's ImageNet file, or tensors alone as .safetensors."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path} does not hold named tensors alone. Give torchvision's ImageNet file.")
    return {str(k): v for k, v in state.items()}
