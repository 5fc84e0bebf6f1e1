"""OSNet: a small network whose every block sees several scales, and weighs them anew for each image.

Source: Zhou, Yang, Cavallaro and Xiang, "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019. Where
the paper is silent the authors' implementation decides (``osnet`` of the torchreid toolkit): the first weights, biases
in the gate, and none before a batch normalisation.
The loss is :func:`crosscam.losses.classification_loss`: cross-entropy with smoothed labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from crosscam.errors import ArgumentError
from crosscam.models.backbones.feature_map import STRIDE
from crosscam.models.baselines.hacnn import conv_unit
from crosscam.models.output import Block, ReidOutput
from crosscam.models.pooling import pool_map
from crosscam.models.stripes import PartLinear, PartUnits

# Channels of the first convolution and of the three stages, and the width multipliers of the paper.
CHANNELS = (64, 256, 384, 512)
WIDTHS = (1.0, 0.75, 0.5, 0.25)
# T, streams of a block; what a block divides its channels by, and what the gate divides them by once more.
STREAMS = 4
BOTTLENECK = 4
REDUCTION = 16


class OSNet(nn.Module):
    """Three stages of omni-scale blocks, average pooling, and a linear unit. ``model(images)`` gives a ReidOutput.

    Source: Zhou et al. 2019, Table 1; 2.2 M parameters without classifier.

    Args:
        num_ids: K; 0 for a network that only describes.
        channels: of the first convolution and of each stage.
        dim: length of the descriptor.

    Attributes:
        backbone: from (B, 3, H, W) images to the (B, C, H/16, W/16) feature map.
        layout: one global block.
    """

    def __init__(self, num_ids: int, *, channels: tuple[int, ...] = CHANNELS, dim: int = 512) -> None:
        super().__init__()
        self.backbone = omni_scale_stages(channels)
        self.unit = PartUnits(1, channels[-1], dim)
        # As the authors' code: normal weights, zero bias.
        nn.init.normal_(self.unit.linear.weight, std=0.01)
        nn.init.zeros_(self.unit.linear.bias)
        self.id_classifiers = PartLinear(1, dim, num_ids, std=0.01) if num_ids else None
        self.layout = (Block("global", 0, dim, 1, "global", (0.0, 1.0)),)

    def forward(self, images: Tensor) -> ReidOutput:
        """(B, 3, H, W) normalised images; the paper's are 256 x 128 -> one embedding, at most one logits."""
        feature = self.unit(pool_map(self.backbone(images), "gap").unsqueeze(1))
        logits = () if self.id_classifiers is None else self.id_classifiers(feature).unbind(dim=1)
        return ReidOutput((feature.squeeze(1),), logits)


def omni_scale_stages(channels: tuple[int, ...]) -> nn.Sequential:
    """The convolutional part: each stage is two blocks and a 1x1 convolution, with average pooling between stages."""
    layers: list[nn.Module] = [conv_unit(3, channels[0], 7, stride=2), nn.MaxPool2d(3, 2, 1)]
    for before, after in pairwise(channels):
        layers += [OmniScaleBlock(before, after), OmniScaleBlock(after, after), conv_unit(after, after, 1)]
        layers.append(nn.AvgPool2d(2))
    stages = nn.Sequential(*layers[:-1])
    for module in stages.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return stages


class OmniScaleBlock(nn.Module):
    """A residual block of T streams; stream t has t lite convolutions, and so sees 2t + 1 places across.

    Source: Zhou et al. 2019, eqs. (1) to (3) and Fig. 4(b): y = ReLU(x + expand(sum_t G(x_t) * x_t)), with x_t the t-th
    stream of the narrowed x. No two streams share layers; they share the gate G, an :class:`AggregationGate` unless
    another is given.
    """

    def __init__(self, in_channels: int, out_channels: int, gate: nn.Module | None = None) -> None:
        super().__init__()
        mid = out_channels // BOTTLENECK
        self.narrow = conv_unit(in_channels, mid, 1)
        self.streams = nn.ModuleList(
            nn.Sequential(*(lite_conv(mid) for _ in range(depth))) for depth in range(1, STREAMS + 1)
        )
        self.gate = AggregationGate(mid) if gate is None else gate
        self.expand = linear_conv(mid, out_channels)
        self.skip = nn.Identity() if in_channels == out_channels else linear_conv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        narrow = self.narrow(x)
        fused = self.gate([stream(narrow) for stream in self.streams])
        return torch.relu(self.expand(fused) + self.skip(x))


class AggregationGate(nn.Module):
    """The unified aggregation gate: every image weighs each channel of each stream, by one network for all streams.

    Source: Zhou et al. 2019, eq. (3): average pooling, one hidden layer with ReLU, sigmoid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.weigh = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """T maps (B, C, H, W) -> (B, C, H, W), their weighted sum."""
        pooled = torch.stack([pool_map(stream, "gap") for stream in streams])
        weights: Tensor = self.weigh(pooled)[..., None, None]
        fused = streams[0] * weights[0]
        for stream, weight in zip(streams[1:], weights[1:], strict=True):
            fused = fused + stream * weight
        return fused


def lite_conv(channels: int) -> nn.Sequential:
    """A 3x3 convolution in two: 1x1 across the channels, then 3x3 within each; batch normalisation and ReLU.

    Source: Zhou et al. 2019, Fig. 3(b), "Lite 3x3". Nothing stands between the two.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def linear_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution and batch normalisation, without ReLU: what a residual sum adds."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


@dataclass(frozen=True)
class OSNetModel:
    """What builds :class:`OSNet`. It has no ResNet and starts from random weights.

    Attributes:
        width: multiplier of all channels but the descriptor's: 1, 0.75, 0.5 or 0.25.
    """

    system: Literal["osnet"] = "osnet"
    width: float = 1.0

    def check(self, height: int, width: int) -> None:
        """Whether these settings go with images of this size.

        Raises:
            ValueError: they do not; the message names the setting to change.
        """
        if self.width not in WIDTHS:
            raise ArgumentError(f"model.width={self.width}: expected one of {', '.join(map(str, WIDTHS))}.")
        if min(height, width) < STRIDE or height % STRIDE or width % STRIDE:
            raise ArgumentError(
                f"Images of {height} x {width} do not give OSNet a whole map at 1/{STRIDE} of their size. "
                f"Take multiples of {STRIDE}."
            )

    def build(self, num_ids: int, *, pretrained: bool = True) -> OSNet:
        """The network for K identities; 0 for a network that only describes."""
        del pretrained  # ImageNet weights are not read.
        return OSNet(num_ids, channels=tuple(int(c * self.width) for c in CHANNELS))
