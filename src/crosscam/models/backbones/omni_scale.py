"""Omni-scale blocks: residual blocks whose streams see several scales, weighed anew for each image.

Source: Zhou, Yang, Cavallaro and Xiang, "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from crosscam.models.backbones.feature_map import conv_unit

Instance = Literal["inside", "after"]

# Channels of the first convolution and of the three stages.
CHANNELS = (64, 256, 384, 512)
# T, streams of a block; what a block divides its channels by, and what the gate divides them by once more.
STREAMS = 4
BOTTLENECK = 4
REDUCTION = 16


class OmniScaleBlock(nn.Module):
    """A residual block of T streams; stream t has t lite convolutions, and so sees 2t + 1 places across.

    Source: Zhou et al. 2019, eqs. (1) to (3) and Fig. 4(b): y = ReLU(x + expand(sum_t G(x_t) * x_t)), with x_t the t-th
    stream of the narrowed x. No two streams share layers; they share the gate G, an :class:`AggregationGate` unless
    another is given.

    Args:
        in_channels, out_channels: C and C'.
        gate: see above.
        instance: where an instance normalization stands: ``"inside"``, in place of the batch normalization before the
            sum (OSNet-AIN, Zhou et al., TPAMI 2021, Fig. 5), ``"after"`` the sum (OSNet-IBN), or nowhere.
    """

    def __init__(
        self, in_channels: int, out_channels: int, gate: nn.Module | None = None, instance: Instance | None = None
    ) -> None:
        super().__init__()
        mid = out_channels // BOTTLENECK
        self.narrow = conv_unit(in_channels, mid, 1)
        self.streams = nn.ModuleList(
            nn.Sequential(*(lite_conv(mid) for _ in range(depth))) for depth in range(1, STREAMS + 1)
        )
        self.gate = AggregationGate(mid) if gate is None else gate
        self.expand = linear_conv(mid, out_channels)
        if instance == "inside":
            self.expand[1] = nn.InstanceNorm2d(out_channels, affine=True)
        self.after = nn.InstanceNorm2d(out_channels, affine=True) if instance == "after" else nn.Identity()
        self.skip = nn.Identity() if in_channels == out_channels else linear_conv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        narrow = self.narrow(x)
        fused = self.gate([stream(narrow) for stream in self.streams])
        return torch.relu(self.after(self.expand(fused) + self.skip(x)))


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
        pooled = torch.stack([mean_of_map(stream) for stream in streams])
        weights: Tensor = self.weigh(pooled)[..., None, None]
        fused = streams[0] * weights[0]
        for stream, weight in zip(streams[1:], weights[1:], strict=True):
            fused = fused + stream * weight
        return fused


def mean_of_map(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C)."""
    # Numbers also while a graph is traced, which must know the window; the layer, not a reduction, for channels_last.
    return avg_pool2d(x, (int(x.shape[2]), int(x.shape[3]))).flatten(1)


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
