"""OSNet with instance normalization and linear context transforms: a small backbone for unseen cameras.

Sources: Zhou et al., ICCV 2019 (OSNet, see :mod:`crosscam.models.backbones.omni_scale`); Ruan et al., "Linear Context
Transform Block", AAAI 2020. This is OpenVINO's person-reidentification-retail-0277 up to its feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm

from crosscam.models.backbones.feature_map import Backbone, conv_unit
from crosscam.models.backbones.omni_scale import CHANNELS, OmniScaleBlock, mean_of_map

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
    """Images -> feature map at 1/16 of their size, 512 channels; 1.9 M parameters.

    Args:
        last_stride: 2 halves the map once more, by average pooling.
    """

    def __init__(self, last_stride: int = 1) -> None:
        super().__init__()
        self.out_channels = CHANNELS[-1]
        self.stem = nn.Sequential(
            nn.InstanceNorm2d(3, affine=True),
            nn.Conv2d(3, CHANNELS[0], 7, 2, 3, bias=False),
            nn.InstanceNorm2d(CHANNELS[0], affine=True),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks: list[nn.Module] = []
        for before, after in pairwise(CHANNELS):
            blocks += [OmniScaleBlock(before, after), OmniScaleBlock(after, after, LinearContextGate(after // 4))]
            blocks += [conv_unit(after, after, 1), nn.AvgPool2d(2)]
        self.blocks = nn.Sequential(*(blocks if last_stride == 2 else blocks[:-1]))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> (B, 512, H/16, W/16) feature map."""
        return cast(Tensor, self.blocks(self.stem(images)))

    @property
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """The stem, and three stages of two blocks, a convolution and, except the last, a pooling."""
        blocks = list(self.blocks.children())
        return [list(self.stem.children()), *(blocks[i : i + 4] for i in range(0, len(blocks), 4))]

    def parted(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Up to the first block of 512 channels, and the rest."""
        blocks = list(self.blocks.children())
        return nn.Sequential(*self.stem, *blocks[:9]), nn.Sequential(*blocks[9:])
