"""OSNet's blocks, whose streams see several scales; and OSNet with linear context transforms, a small backbone.

Sources: Zhou, Yang, Cavallaro and Xiang, "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019; Ruan
et al., "Linear Context Transform Block", AAAI 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, group_norm

from crosscam.models.backbones.feature_map import Backbone, conv_unit, init_convolutions

Instance = Literal["inside", "after"]

# Channels of the first convolution and of the three stages; and of the network of half the width.
CHANNELS = (64, 256, 384, 512)
HALF_CHANNELS = (32, 128, 192, 256)
# T, streams of a block; what a block divides its channels by, and what the gate divides them by once more.
STREAMS = 4
BOTTLENECK = 4
REDUCTION = 16


class OmniScaleBlock(nn.Module):
    """A residual block of T streams; stream t has t lite convolutions, and so sees 2t + 1 places across.

    Source: Zhou et al. 2019, eqs. (1) to (3) and Fig. 4(b): y = ReLU(x + expand(sum_t G(x_t) * x_t)), with x_t the t-th
    stream of the narrowed x. The streams share the gate G alone, an :class:`AggregationGate` unless another is given.

    Args:
        in_channels, out_channels: C and C'.
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
    """A 3x3 convolution in two: 1x1 across the channels, then 3x3 within each; batch normalization and ReLU.

    Source: Zhou et al. 2019, Fig. 3(b), "Lite 3x3". Nothing stands between the two.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def linear_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution and batch normalization, without ReLU: what a residual sum adds."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


# Groups of channels that a linear context transform normalizes together.
GROUPS = 16


class LinearContextGate(nn.Module):
    """Every image weighs each channel of each stream by how that channel stands out of its group.

    Source: Ruan et al. 2020: average pooling, normalization within groups of channels, an affine map for each channel,
    sigmoid. One gate serves all streams.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """T maps (B, C, H, W) -> (B, C, H, W), their weighted sum."""
        weighed = [x * self._weights(x)[..., None, None] for x in streams]
        return sum(weighed[1:], start=weighed[0])

    def _weights(self, x: Tensor) -> Tensor:
        normed: Tensor = group_norm(mean_of_map(x), GROUPS, self.weight, self.bias)
        return normed.sigmoid()


class OSNetLCT(Backbone):
    """Images -> feature map at 1/16 of their size, C channels. Last stride 2 halves it again.

    Args:
        channels: of the first convolution and of the three stages; the last is C. 512 have 1.9 M parameters, 256 (of
            :data:`HALF_CHANNELS`) 0.5 M.
    """

    def __init__(self, last_stride: int = 1, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        self.out_channels = channels[-1]
        self.stem = nn.Sequential(
            nn.InstanceNorm2d(3, affine=True),
            nn.Conv2d(3, channels[0], 7, 2, 3, bias=False),
            nn.InstanceNorm2d(channels[0], affine=True),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks: list[nn.Module] = []
        for before, after in pairwise(channels):
            blocks += [OmniScaleBlock(before, after), OmniScaleBlock(after, after, LinearContextGate(after // 4))]
            blocks += [conv_unit(after, after, 1), nn.AvgPool2d(2)]
        self.blocks = nn.Sequential(*(blocks if last_stride == 2 else blocks[:-1]))
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, C, H/16, W/16) feature map."""
        return cast(Tensor, self.blocks(self.stem(images)))

    @property
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The stem, and three stages of two blocks, a convolution and, except the last, a pooling."""
        blocks = list(self.blocks.children())
        return [list(self.stem.children()), *(blocks[i : i + 4] for i in range(0, len(blocks), 4))]

    def parted(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Up to the first block of C channels, and the rest."""
        blocks = list(self.blocks.children())
        return nn.Sequential(*self.stem, *blocks[:9]), nn.Sequential(*blocks[9:])
